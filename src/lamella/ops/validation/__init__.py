"""What is wrong with a store, by the rules of the specification.

Layer: ops.
"""
