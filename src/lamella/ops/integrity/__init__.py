"""What of a store is there and whole: status, verification, checksums. Nothing is changed.

Layer: ops.
"""
