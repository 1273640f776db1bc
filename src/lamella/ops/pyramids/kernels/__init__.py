"""The loops over voxels, compiled: what they are and how they are compiled, kept and called is in README.md here.

Layer: ops.
"""
