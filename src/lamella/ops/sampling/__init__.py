"""Crops of images for training: where they are, and how they are read.

Layer: ops. Independent of any framework.
"""
