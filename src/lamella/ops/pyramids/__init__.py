"""Compute the lower levels of an image from its finest."""
