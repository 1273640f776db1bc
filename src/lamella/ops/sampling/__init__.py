"""Draw and read crops of images for training, with any framework."""
