"""OME-NGFF as pure data: models, versions, edits, geometry, rules. No I/O, no numpy, no zarr.

Layer: spec (imports ``lamella.errors`` and ``lamella.types`` only).
"""
