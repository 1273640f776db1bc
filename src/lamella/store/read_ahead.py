"""Reading ahead in stores where every request waits: which documents to ask for at once, and those that came.

What consolidated metadata are used for, and what not. They are copies of the documents below a group, kept in its
``.zmetadata`` (Zarr v2) or ``zarr.json`` (v3), and stay as they were when a program changes a document and does not
know of them, or does not care (zarr-python #2921). Whether they are fresh could only be told by asking for each
document, or for its time, of which the second costs as much as the first: on a local disk a ``stat`` takes as long as
reading, and a store of zarr-python has no times at all. So no copy is ever taken for a document. Their *names* are
taken as a hint which documents there may be: whoever walks a plate gets the next 64 wells or positions with one round
of concurrent requests, each the document itself. A copy that is stale costs requests for documents that are gone, and
nothing else; one that is missing leaves the walk as slow as it was.

Only stores that are open for reading read ahead; what was fetched is given once, within seconds. Writers drop the
copies of what they change (:mod:`lamella.store.documents`), and ``validate`` reports stale ones (LM-08).

Layer: store. No I/O: :mod:`lamella.store.zarr_storage` asks.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from lamella.store.formats import DOCUMENTS, V2, V3
from lamella.store.keys import check_key, natural_order

if TYPE_CHECKING:
    from collections.abc import Mapping

AT_ONCE: Final = 64
"""Documents that are asked for in one round."""

_GAP = 8
"""Documents of one depth that a walk may pass over and still be one: lower levels, other label images."""
_SECONDS = 10.0
"""How long a document that came ahead is given out."""
_A_FEW = 12
"""Documents of Zarr v2 after which their list is looked for: who opens one image is spared the request."""


class ReadAhead:
    """The documents that consolidated metadata name, and how a reader walks over them.

    Examples
    --------
    >>> ahead = ReadAhead()
    >>> ahead.learn("zarr.json", b'{"consolidated_metadata": {"metadata": {"A": {}, "A/1": {}, "A/2": {}, "A/3": {}}}}')
    >>> ahead.plan("A/1/zarr.json")  # one document: who asks for one may want no other
    ['A/1/zarr.json']
    >>> ahead.plan("A/2/zarr.json")  # the next one of the same depth: a walk
    ['A/2/zarr.json', 'A/3/zarr.json']
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[int, str], list[str]] = {}
        self._place: dict[str, int] = {}
        self._last: dict[tuple[int, str], int] = {}
        self._held: dict[str, tuple[float, bytes | None]] = {}
        self._asked = 0

    @staticmethod
    def is_document(key: str) -> bool:
        """Tell whether a key is that of a document by its name."""
        return key.rpartition("/")[2] in DOCUMENTS

    def wants_list(self, key: str) -> bool:
        """Tell, once, that it is time to look for the ``.zmetadata`` of a Zarr v2 store."""
        if key.endswith(V3.group):
            return False
        self._asked += 1
        return self._asked == _A_FEW

    def names(self, key: str) -> bool:
        """Whether the consolidated metadata name a document."""
        return key in self._place

    def learn(self, key: str, data: bytes | None) -> None:
        """Take the names of documents out of consolidated metadata of the root; damaged ones name none."""
        if data is None or key not in (V3.group, V2.consolidated) or self._place:
            return
        if key == V3.group and b'"consolidated_metadata"' not in data:
            return
        try:
            document = json.loads(data)
            kept = document["consolidated_metadata"] if key == V3.group else document
            names = [check_key(str(name)) for name in kept["metadata"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        if key == V3.group:
            names = [f"{name}/{V3.group}" for name in names]
        for name in sorted(names, key=natural_order):
            line = self._lines.setdefault(_line(name), [])
            self._place[name] = len(line)
            line.append(name)

    def plan(self, key: str) -> list[str]:
        """List the documents to ask for when one is wanted: itself, and in a walk those that come next."""
        place = self._place.get(key)
        if place is None:
            return [key]
        which = _line(key)
        last = self._last.get(which)
        self._last[which] = place
        if last is None or not last < place <= last + _GAP:
            return [key]
        return self._lines[which][place : place + AT_ONCE]

    def hold(self, found: Mapping[str, bytes | None]) -> None:
        """Keep documents that came, for the reads that follow."""
        now = time.monotonic()
        self._held = {key: item for key, item in self._held.items() if now - item[0] < _SECONDS}
        self._held.update((key, (now, data)) for key, data in found.items())

    def peek(self, key: str) -> tuple[bytes | None] | None:
        """Give a document that came ahead, None for one that is gone; None when it did not come."""
        held = self._held.get(key)
        if held is None or time.monotonic() - held[0] >= _SECONDS:
            return None
        place = self._place.get(key)
        if place is not None:
            self._last[_line(key)] = place
        return (held[1],)

    def take(self, key: str) -> tuple[bytes | None] | None:
        """Give a document that came ahead for good: who reads it again reads anew."""
        found = self.peek(key)
        self._held.pop(key, None)
        return found


def _line(key: str) -> tuple[int, str]:
    return key.count("/"), key.rpartition("/")[2]
