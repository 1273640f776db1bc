"""Images in other formats, and single stores, into an OME-Zarr image or plate.

Layer: ops.
"""
