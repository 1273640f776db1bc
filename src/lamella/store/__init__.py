"""The store layer: the only code that touches bytes. Nothing here knows OME-NGFF.

``storage`` defines `Storage`: bytes under keys. ``files`` implements it for folders and ZIP archives, ``objects`` for
services. On top of it, ``metadata`` reads and writes the JSON documents of groups and arrays, ``pixels`` the chunks.
"""
