"""Order the files of a folder along one axis by their names, or propose a pattern that assigns an index to each.

Names are split into parts: numbers, words, and the text between them. Parts that differ between files and change
together are a group: ``t1_z1, t1_z2, t2_z1, t2_z2`` have two groups, the number after t and the number after z. Files
with one group are a stack along the axis that the word before the number names. For several groups, whose meaning is
unknown, a pattern is proposed.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.errors import LamellaError, SourceError
from lamella.ops.conversion.placement import place_by_regex
from lamella.spec.channels import named_color
from lamella.store.keys import natural_order

if TYPE_CHECKING:
    from collections.abc import Sequence

_PARTS = re.compile(r"\d+|[^\W\d_]+|[\W_]+")
_SIGNED_PARTS = re.compile(r"-?\d+|[^\W\d_]+|(?:(?!-\d)[\W_])+")
"""The same, with a hyphen before a number as its sign."""

_ROLE_OF_WORD = {
    "t": "t", "tp": "t", "time": "t", "timepoint": "t", "frame": "t",
    "z": "z", "slice": "z", "plane": "z", "zstep": "z",
    "c": "channel", "ch": "channel", "chan": "channel", "channel": "channel", "w": "channel", "wv": "channel",
    "wavelength": "channel",
    "f": "field", "s": "field", "p": "field", "field": "field", "site": "field", "fov": "field", "pos": "field",
    "position": "field", "xy": "field",
}  # fmt: skip
"""Usual meanings (roles) of the word before a number."""

_AMBIGUOUS_WORDS = ("frame",)
"""Words that many programs write before any number."""

_ROW = re.compile(r"[A-P]|A[A-F]")
_WELL_COLUMN = re.compile(r"\d{1,2}")


@dataclass(frozen=True)
class _Table:
    """File names cut into the same parts: a row per file, a column per part."""

    rows: tuple[tuple[str, ...], ...]

    def column(self, index: int) -> tuple[str, ...]:
        return tuple(row[index] for row in self.rows)

    def is_number(self, index: int) -> bool:
        return self.rows[0][index].lstrip("-").isdecimal()

    def values(self, index: int) -> list[int | str]:
        """Return a part of each name: as numbers if it is one, else as text."""
        texts = self.column(index)
        return [int(text) for text in texts] if self.is_number(index) else list(texts)

    def varying(self) -> list[list[int]]:
        """List the parts that differ between files, in groups of parts that always change together."""
        groups: list[list[int]] = []
        for index in range(len(self.rows[0])):
            if len(set(self.values(index))) > 1:
                group_of_part = next(
                    (group for group in groups if self._change_together(group[0], index)), None
                )
                if group_of_part is None:
                    groups.append([index])
                else:
                    group_of_part.append(index)
        return groups

    def _change_together(self, first: int, second: int) -> bool:
        """Return whether two parts change together, and sort the files in the same order."""
        pairs = sorted(set(zip(map(_rank, self.values(first)), map(_rank, self.values(second)), strict=True)))
        first_ranks, second_ranks = zip(*pairs, strict=True)
        return len(set(first_ranks)) == len(set(second_ranks)) == len(pairs) and list(second_ranks) == sorted(
            second_ranks
        )


def _rank(value: int | str) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, value)


@dataclass(frozen=True)
class Stack:
    """The files of a stack in order, the axis that their names mention ("t", "z", "c" or ""), and the word for it.

    ``numbers`` are the numbers in the names; none if the files are in natural order of their names.
    """

    files: list[str]
    axis: str = ""
    word: str = ""
    numbers: tuple[int, ...] = ()


def order_stack(files: Sequence[str], folder: str) -> Stack:
    """Return the files of one stack in order: by the number in their names that differs, else natural order.

    Raise SourceError if the names differ in several parts, or count fields, wells or dyes. ``folder`` is for messages.

    >>> order_stack(["z0.tif", "z-1.tif", "z-10.tif", "z2.tif"], "stack").files
    ['z-10.tif', 'z-1.tif', 'z0.tif', 'z2.tif']
    >>> order_stack(["time_10.tif", "time_9.tif"], "film")
    Stack(files=['time_9.tif', 'time_10.tif'], axis='t', word='time', numbers=(9, 10))
    >>> order_stack(["t1_z1.tif", "t1_z2.tif", "t2_z1.tif", "t2_z2.tif"], "stack")
    Traceback (most recent call last):
    ...
    lamella.errors.SourceError: stack contains 4 files whose names differ in 2 parts ...
    """
    table = _split_names(files)
    groups = [] if table is None else table.varying()
    if table is None or not groups:
        return Stack(sorted(files, key=natural_order))
    if len(groups) > 1:
        raise SourceError(_refusal(files, folder, table, groups))
    number_part, word, role = _numbering_part(table, groups[0])
    if role in ("field", "well", "dye"):
        raise SourceError(_refusal(files, folder, table, groups, role))
    if not table.is_number(number_part):
        return Stack(sorted(files, key=natural_order))
    numbered_files = sorted((int(row[number_part]), index) for index, row in enumerate(table.rows))
    return Stack(
        [files[index] for _, index in numbered_files],
        {"channel": "c"}.get(role, role),
        word,
        tuple(number for number, _ in numbered_files),
    )


def _numbering_part(table: _Table, group: list[int]) -> tuple[int, str, str]:
    """Return the part that numbers the files, the word before it, and its role, which is empty if it is unknown."""
    for index in group:
        word = _word_before(table, index)
        role = _ROLE_OF_WORD.get(word.lower(), "")
        if word.lower() in _AMBIGUOUS_WORDS:
            continue
        if role and table.is_number(index):
            return index, word, role
    if set(group) & {*(_well_parts(table, set(group)) or ())}:
        return group[0], "", "well"
    words = next((table.column(index) for index in group if not table.is_number(index)), ())
    return group[0], "", "dye" if words and all(map(named_color, words)) else ""


def _split_names(files: Sequence[str]) -> _Table | None:
    """Split names into parts; None if their kinds of parts differ."""
    stems = [os.path.splitext(os.path.basename(file))[0] for file in files]
    for parts in (_PARTS, _SIGNED_PARTS):
        rows = [tuple(parts.findall(stem)) for stem in stems]
        kinds = {tuple(_kind(part) for part in row) for row in rows}
        if len(kinds) == 1 and rows[0]:
            return _Table(tuple(rows))
    return None


def _kind(part: str) -> str:
    """Return the kind of a part: a number, a word, or the text between them."""
    if part.lstrip("-").isdecimal():
        return "number"
    return "word" if part[0].isalpha() else part


def _refusal(
    files: Sequence[str], folder: str, table: _Table, groups: list[list[int]], role: str = ""
) -> str:
    """Return the message about names that are not a stack, with a pattern that places them if possible."""
    examples = ", ".join(_example(table, group[0]) for group in groups)
    differ = f"differ in {len(groups)} parts" if not role else f"count {role}s"
    problem = (
        f"{folder} contains {len(files)} files whose names {differ} ({examples}), so they are not one stack: "
    )
    pattern = _propose(files, table, groups)
    if pattern is None:
        return f"{problem}place each file with --well-regex or --map."
    return f"{problem}place them with --well-regex {shlex.quote(pattern)} after a look at the meaning of each group."


def _example(table: _Table, index: int) -> str:
    """Format a part of the names for messages, with the word before it: ``z 1 to 12``."""
    values = sorted(set(table.values(index)), key=_rank)
    return f"{_word_before(table, index)} {values[0]} to {values[-1]}".strip()


def _word_before(table: _Table, index: int) -> str:
    """Return the word before a part, directly or before one separator."""
    row = table.rows[0]
    for before in (index - 1, index - 2):
        if before >= 0 and row[before].isalpha() and len(set(table.column(before))) == 1:
            return row[before]
        if before < 0 or row[before].isalnum():
            break
    return ""


def _propose(files: Sequence[str], table: _Table, groups: list[list[int]]) -> str | None:
    """Return a pattern that places each file at another index; None if the role of a part is unknown."""
    roles = _roles(table, groups)
    if roles is None:
        return None
    varying = {index for group in groups for index in group}
    parts = []
    for index, text in enumerate(table.rows[0]):
        is_signed = any(part.startswith("-") for part in table.column(index))
        kind = (r"-?\d+" if is_signed else r"\d+") if table.is_number(index) else r"[^\W\d_]+"
        if index in roles:
            parts.append(f"(?P<{roles[index]}>{kind})")
        else:
            parts.append(kind if index in varying else re.escape(text).replace(r"\-", "-"))
    pattern = f"^{''.join(parts)}\\."
    try:
        placed, unmatched = place_by_regex(files, pattern)
    except LamellaError:
        return None
    return pattern if not unmatched and len({file.placement for file in placed}) == len(files) else None


def _roles(table: _Table, groups: list[list[int]]) -> dict[int, str] | None:
    """Return the role of each part that distinguishes files: part of a well's name, or by the word before the part.

    Parts without either are z, t and channel, from the last part on. Return None if there are fields without a well, or
    more parts without a role than these three.
    """
    roles: dict[int, str] = {}
    varying = {index for group in groups for index in group}
    well = _well_parts(table, varying)
    roles_by_word: dict[int, str] = {}
    for group in groups:
        role_by_part = {index: _ROLE_OF_WORD.get(_word_before(table, index).lower(), "") for index in group}
        if not table.is_number(group[0]):
            role_by_part[group[0]] = "channel"
        part = next((index for index in group if role_by_part[index]), group[0])
        roles_by_word[part] = role_by_part[part]
    needs_well = any(role == "field" for role in roles_by_word.values())
    if well and (needs_well or varying & {*well}):
        roles = {well[0]: "row", well[1]: "column"}
    elif needs_well:
        return None
    unknown_parts: list[int] = []
    for index, role in roles_by_word.items():
        if index in roles or (well and index in well):
            continue
        if role and role not in roles.values():
            roles[index] = role
        else:
            unknown_parts.append(index)
    free_roles = [role for role in ("z", "t", "channel") if role not in roles.values()]
    if len(unknown_parts) > len(free_roles):
        return None
    return roles | dict(zip(reversed(unknown_parts), free_roles, strict=False))


def _well_parts(table: _Table, varying: set[int]) -> tuple[int, int] | None:
    """Find a row letter followed by a column number, such as B03; prefer one that differs between files."""
    row = table.rows[0]
    pairs = [
        (index, index + 1)
        for index in range(len(row) - 1)
        if all(_ROW.fullmatch(text) for text in table.column(index))
        and all(_WELL_COLUMN.fullmatch(text) for text in table.column(index + 1))
    ]
    return max(pairs, key=lambda pair: len(varying & {*pair}), default=None)
