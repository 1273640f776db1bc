"""Convert other formats, and single stores, to an OME-Zarr image or plate."""
