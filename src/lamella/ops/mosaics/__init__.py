"""Mosaics: the fields of a well, or the tiles of an image, as one image by their translations."""
