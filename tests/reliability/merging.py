"""A file system that takes names for one that differ by case, or by how their letters are composed, as macOS has it.

Tests use the real one where the folder for temporary files lies on such a file system; elsewhere the calls of Python
below a folder are led to the entry whose name is the same to macOS. What TensorStore and other libraries in C ask of
the system is not led.
"""

from __future__ import annotations

import os
import unicodedata
from functools import wraps

#: Calls of the system with the number of paths that they begin with.
CALLS = {
    "open": 1, "lstat": 1, "stat": 1, "mkdir": 1, "readlink": 1, "listdir": 1, "scandir": 1, "unlink": 1, "remove": 1,
    "rmdir": 1, "access": 1, "rename": 2, "replace": 2, "link": 2,
}  # fmt: skip


def folded(name: str) -> str:
    """Return what two names of one entry have in common."""
    return unicodedata.normalize("NFC", name).casefold()


def merges(folder) -> bool:
    """Whether the system does so by itself."""
    (folder / "case").touch()
    return (folder / "CASE").exists()


def merge(monkeypatch, folder):
    """Have names that differ by case be one entry below a folder."""
    if merges(folder):
        return
    base = os.fspath(folder) + "/"
    listdir = os.listdir

    def led(path):
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
        if not isinstance(text, str) or not text.startswith(base):
            return path
        real = base.rstrip("/")
        for part in text[len(base) :].split("/"):
            try:
                names = listdir(real)
            except OSError:
                names = []
            same = [name for name in names if folded(name) == folded(part)]
            real = f"{real}/{same[0] if same and part not in names else part}"
        return real

    def renaming(call):
        @wraps(call)
        def rename(old, new, **options):
            source, target = led(old), led(new)
            # To another form of its own name, an entry is renamed, as macOS does.
            return call(source, os.fspath(new) if source == target and "/" in str(new) else target, **options)

        return rename

    for name, paths in CALLS.items():
        call = getattr(os, name)
        if paths == 2:
            monkeypatch.setattr(os, name, renaming(call))
            continue

        def leading(path=".", *rest, _call=call, **options):
            return _call(led(path) if options.get("dir_fd") is None else path, *rest, **options)

        monkeypatch.setattr(os, name, wraps(call)(leading))
