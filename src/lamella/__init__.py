"""lamella: OME-Zarr (OME-NGFF) microscopy data, from one image to plates of thousands of fields.

>>> import lamella
>>> lamella.__version__
'0.1.0'
"""

from __future__ import annotations

from lamella._version import __version__

__all__ = ["__version__"]
