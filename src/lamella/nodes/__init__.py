"""The nodes of a store: thin handles (store + path) with the names of the API page.

``open_ome_zarr`` is the front door. A node keeps nothing open: it reads its own document when first asked and
again when somebody else has changed it. Operations on pixels and on many nodes live in :mod:`lamella.ops`.

Imports store and spec.
"""
