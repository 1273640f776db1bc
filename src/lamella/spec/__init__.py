"""OME-NGFF as pure data: models, versions, edits, geometry, rules. No I/O, no numpy, no zarr.

Of the package, only ``lamella.errors`` and ``lamella.types`` are imported here.
"""
