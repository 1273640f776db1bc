"""Read the text files of MetaMorph and MetaXpress, ``.nd`` and ``.HTD``: a key and its values in each line."""

from __future__ import annotations

import csv

from lamella.errors import SourceError


def read_keys(path: str) -> dict[str, list[str]]:
    """Return the values of each key as texts; raise SourceError for a file that cannot be read."""
    try:
        with open(path, encoding="latin-1", newline="") as file:
            lines = list(csv.reader(file, skipinitialspace=True))
    except (OSError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    return {line[0]: [value.strip() for value in line[1:]] for line in lines if line}
