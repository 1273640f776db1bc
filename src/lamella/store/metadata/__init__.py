"""JSON documents of groups and arrays, in both Zarr formats."""
