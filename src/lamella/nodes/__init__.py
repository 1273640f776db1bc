"""The nodes of a store: handles of a store and a path, which are the public API; ``open_ome_zarr`` opens them.

A node keeps nothing open: it reads its own document on first use, and again after another process has changed it.
Operations on pixels and on many nodes are in :mod:`lamella.ops`.
"""
