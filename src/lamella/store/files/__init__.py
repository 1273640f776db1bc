"""Bytes of a store in a folder of the file system, or in a ZIP archive."""
