"""Pictures of images and plates.

Layer: ops.
"""
