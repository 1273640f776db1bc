"""Repair metadata without guesses, and rebuild plates from the images in the store."""
