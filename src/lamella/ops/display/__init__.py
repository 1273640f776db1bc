"""Draw pictures of images and plates."""
