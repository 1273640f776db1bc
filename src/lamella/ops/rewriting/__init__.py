"""Whole stores written anew: in another version, in other chunks.

Layer: ops.
"""
