"""What can be mended in a store without guessing; plates rebuilt from what is on disk.

Layer: ops.
"""
