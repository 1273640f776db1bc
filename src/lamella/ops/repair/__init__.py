"""Repairs of a store that need no guess, and plates rebuilt from the images in the store.

Layer: ops.
"""
