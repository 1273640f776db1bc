"""Conversion of other formats, and of single stores, to an OME-Zarr image or plate.

Layer: ops.
"""
