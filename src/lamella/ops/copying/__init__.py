"""Copying stores as they are: to another store, into an archive, and out of one.

Layer: ops.
"""
