"""The only code that reads and writes bytes; it does not know OME-NGFF.

`storage` defines `Storage`, bytes under keys, for which `files` and `objects` have implementations. On top of it,
`metadata` reads and writes JSON documents, and `pixels` chunks.
"""
