"""Choose the original metadata to store, and name them: those of several files each after its file.

Their number and size are limited, because a plate may come from tens of thousands of files.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from lamella.ops.conversion.reader import MAX_ORIGINAL_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lamella.ops.conversion.reader import Container, OriginalMetadata

MAX_ORIGINALS = 1000
"""Maximum number of texts of original metadata in a store."""


def choose_originals(
    files: Sequence[tuple[str, Container]], folder: str | None = None
) -> tuple[tuple[OriginalMetadata, ...], int]:
    """Return the texts to store, with the names to store them by, and the number of those that are left out.

    The first text of a single file is stored at any size. With ``folder``, texts are named after the path of their file
    in this folder, also that of a single file: other calls convert other files of the folder into the same store.

    >>> from lamella.ops.conversion.reader import Container, OriginalMetadata
    >>> files = [(f"/data/{name}.tif", Container([], [OriginalMetadata("a.json", "{}")])) for name in ("A/1", "B/1")]
    >>> [original.name for original in choose_originals(files)[0]]
    ['A_1.tif.a.json', 'B_1.tif.a.json']
    """
    is_single = len(files) == 1 and folder is None
    left_out = sum(container.originals_left_out for _, container in files)
    text_by_name: dict[str, OriginalMetadata] = {}
    size = 0
    for original in files[0][1].original if is_single else _by_file(files, folder):
        length = len(original.text)
        is_first = is_single and not text_by_name
        if not is_first and (len(text_by_name) == MAX_ORIGINALS or size + length > MAX_ORIGINAL_BYTES):
            left_out += 1
            continue
        name = original.name
        while name in text_by_name:
            name = f"_{name}"
        text_by_name[name] = replace(original, name=name)
        size += length
    return tuple(text_by_name.values()), left_out


def _by_file(files: Sequence[tuple[str, Container]], folder: str | None) -> list[OriginalMetadata]:
    """Return the texts of files, named after each file's path in a folder, by default the folder of all files."""
    files_with_texts = [(os.path.abspath(file), container) for file, container in files if container.original]
    if not files_with_texts:
        return []
    common = folder or os.path.commonpath([os.path.dirname(file) for file, _ in files_with_texts])
    return [
        replace(original, name=f"{os.path.relpath(file, common).replace(os.sep, '_')}.{original.name}")
        for file, container in files_with_texts
        for original in container.original
    ]
