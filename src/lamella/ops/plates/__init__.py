"""Operations on whole plates: copies, members, tables, and functions over positions.

Layer: ops.
"""
