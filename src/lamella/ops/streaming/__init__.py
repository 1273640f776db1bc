"""Frames that come one by one from an instrument: into the arrays of a position, or of many.

Layer: ops.
"""
