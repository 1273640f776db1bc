"""Draw and read crops of images for training.

Layer: ops. Independent of any framework.
"""
