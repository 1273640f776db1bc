"""Read the plates of high-content screens: an index of the instrument lists the TIFF files of each well and field.

``opera``, ``imagexpress`` and ``cellvoyager`` parse one kind of index each to a `Screen`.
"""
