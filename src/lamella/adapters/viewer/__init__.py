"""The viewer: a server on this machine's loopback address, and the page that it serves.

`page/` has plain ES modules and a style sheet, served as they are.
"""
