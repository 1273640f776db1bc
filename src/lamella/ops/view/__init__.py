"""Show images and plates as one picture that can be zoomed: the layout of the fields, and tiles of pixels."""
