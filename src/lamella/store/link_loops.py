"""Listing a folder without the links that lead back to where one came from.

A link to a folder above it makes a tree without an end, and two of them one that doubles with every level: a walk would
never come back.
"""

from __future__ import annotations

import os


def names_in(base: str, prefix: str) -> list[str]:
    """List a folder; links to the folder itself, or to one that was passed on the way to it, are left out.

    Parameters
    ----------
    base : str
        The store's folder, ending in ``/``.
    prefix : str
        The folder in it.

    Raises
    ------
    OSError
        It cannot be listed.
    """
    folder = base + prefix
    names, links = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if entry.is_symlink():
                links.append(entry.name)
    if not links:
        return names
    parts = prefix.split("/") if prefix else []
    passed = {os.path.realpath(base + "/".join(parts[:n])) for n in range(len(parts) + 1)}
    loops = {name for name in links if _leads_to(os.path.realpath(os.path.join(folder, name)), passed)}
    return [name for name in names if name not in loops]


def _leads_to(target: str, passed: set[str]) -> bool:
    """Whether a folder is one that was passed, or holds one."""
    inside = target.rstrip(os.sep) + os.sep
    return any(folder == target or folder.startswith(inside) for folder in passed)
