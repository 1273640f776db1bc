"""Draw and read crops of images for training.

Independent of any framework.
"""
