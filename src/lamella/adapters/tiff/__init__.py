"""Read TIFF files: OME-TIFF, ImageJ, Micro-Manager, STK, LSM and others; ``reader`` is the front."""
