"""Plates as wholes: copies, members, tables.

Layer: ops.
"""
