"""The store layer: the only code that touches bytes.

``storage``, ``local``, ``zarr_storage``: bytes under keys. ``documents``, ``format_v2``, ``format_v3``:
groups and arrays as JSON documents. ``array_meta``, ``compressor``, ``layout``: the content of an array document.
``arrays``, ``selection``, ``engine``, ``engine_zarr``, ``coding``: the pixels.
Nothing here knows OME-NGFF.

Imports errors and types.
"""
