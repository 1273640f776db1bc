"""Draw pictures of images and plates.

Layer: ops.
"""
