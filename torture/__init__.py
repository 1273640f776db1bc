"""Test the promises at random, for as long as asked: kills, races, damaged documents and pixels (``make torture``)."""
