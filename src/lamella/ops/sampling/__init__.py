"""Crops of images for training: where they lie, and how they are read.

Layer: ops. Nothing here knows a framework.
"""
