"""Check whether the data of a store exist and are undamaged: status, verification, checksums. Nothing is changed."""
