"""Bytes of a store at a service: S3, Google, Azure, web servers, and everything that zarr-python opens."""
