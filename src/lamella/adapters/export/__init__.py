"""Export images and plates for other programs: OME-TIFF, ImageJ TIFF, pictures and movies."""
