"""List a folder without symbolic links to folders above it, which would make a walk endless."""

from __future__ import annotations

import os


def names_in(base: str, prefix: str) -> list[str]:
    """List a folder `prefix` of the store folder `base`; leave out links to the folder itself or to one above it."""
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
    folders_above = {os.path.realpath(base + "/".join(parts[:n])) for n in range(len(parts) + 1)}
    loops = {name for name in links if _leads_to(os.path.realpath(os.path.join(folder, name)), folders_above)}
    return [name for name in names if name not in loops]


def _leads_to(target: str, folders_above: set[str]) -> bool:
    """Whether a folder equals, or contains, one of the folders above."""
    inside = target.rstrip(os.sep) + os.sep
    return any(folder == target or folder.startswith(inside) for folder in folders_above)
