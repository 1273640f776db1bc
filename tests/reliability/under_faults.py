"""One operation at a service where one of its requests goes wrong, and what must hold afterwards.

Used by tests and by ``torture``.
"""

from __future__ import annotations

import re
import tempfile
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lamella.errors import AccessError, DamagedDataError, LamellaError, StorageError, UnitsFailedError
from lamella.store.objects.object_requests import _supports_conditions

from .operations import OPERATIONS, USED, Operation, files, seen
from .protocols import PROTOCOLS, SECRET
from .states import settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.remote import Fault, Service

FAULTS: tuple[int | str, ...] = (
    *(403, 404, 412, 500, 503, "reset", "short", "less", "late", "lost"),
    *("no list", "no ranges"),
)
"""The rows of the matrix: what a service does to requests; see `tests.remote.Fault`.

The last two are services that refuse lists, and answer 403 for what is not there, or ignore the Range header.
"""

_AZURE_TAG = re.compile(rb'(?<=")0x[0-9A-F]{15}\b|(?<=\\")0x[0-9A-F]{15}\b')
_MAP_OUTPUT = re.compile(rb'(?<="output":)\{[^{}]*\}')
"""What a record of `map` keeps of the files that it wrote: at Azure a digest of ETags, which each write changes."""

_TEMPORARY = re.compile(r"[.]lamella-(upload|rewrite|pack)")
"""Folders in which new stores are written, of which users know nothing."""

ONCE = (404, 412, "less", "lost")
"""Faults of one request. The others last until the operation ends."""


@dataclass
class Known:
    """What an operation does where nothing fails: its result, its requests, and what is stored afterwards."""

    result: object
    requests: list[tuple[str, str]]
    objects: dict[str, bytes]
    seen: dict[str, Any]


@contextmanager
def noted(note: str) -> Iterator[None]:
    """Add a note to an error."""
    try:
        yield
    except Exception as error:
        error.add_note(note)
        raise


def points(requests: list[tuple[str, str]]) -> list[int]:
    """Return requests at which a fault begins: the first, those around the pixels, one in the middle, the last."""
    pixels = [n for n, (_, path) in enumerate(requests) if is_chunk(path)]
    last = len(requests) - 1
    return list(dict.fromkeys([0, *pixels[:1], last // 2, *pixels[-1:], last]))


def is_chunk(path: str) -> bool:
    """Whether the path of a request is that of a chunk or a shard."""
    return ".zarr/" in path and path.rpartition("/")[2].isdecimal()


class Trials:
    """A service with the stores of a version, and what each operation does to them."""

    known: ClassVar[dict[tuple[str, str, str], Known]] = {}
    before: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, service: Service, version: str, protocol: str = "s3") -> None:
        self.service, self.version = service, version
        self.protocol = PROTOCOLS[protocol](service)
        USED[:] = [self.protocol]
        self.base = files(version)
        _supports_conditions["s3", service.endpoint, "bucket"] = True
        self.begin()
        if version not in self.before:
            self.before[version] = seen(service)
        self.old = self.before[version]

    def begin(self) -> None:
        """Store what is there before an operation."""
        self.heal()
        self.service.objects.clear()
        self.service.objects.update(self.base)
        self.service.writes.clear()
        self.service.requests.clear()

    def clean(self, name: str) -> Known:
        """Return what an operation does where nothing fails; made once per version."""
        made = self.protocol.name, self.version, name
        if made not in self.known:
            self.begin()
            result = self.run(OPERATIONS[name])
            self.known[made] = Known(result, list(self.service.requests), self.stored(), seen(self.service))
        return self.known[made]

    def run(self, operation: Operation) -> object:
        """Make a call with an empty folder."""
        with tempfile.TemporaryDirectory() as folder:
            return operation.run(Path(folder))

    def stored(self) -> dict[str, bytes]:
        """Return all objects, without notes and ETags that differ between calls."""
        found = {
            key: _AZURE_TAG.sub(b"0x", settled(key, data))
            for key, data in self.service.objects.items()
            if not key.endswith("METADATA.ome.xml")  # has a UUID
        }
        if self.protocol.name == "az":
            return {key: _MAP_OUTPUT.sub(b"{}", data) for key, data in found.items()}
        return found

    def outcome(self, operation: Operation, fault: int | str) -> tuple[Any, LamellaError | None]:
        """Return what an operation returned and raised; only errors that fit the fault are expected."""
        kinds = LamellaError if fault == 404 else (StorageError, UnitsFailedError)
        try:
            with warnings.catch_warnings():
                if fault in (404, "no list"):  # labels without levels; 403 is read as absent
                    warnings.simplefilter("ignore", UserWarning)
                return self.run(operation), None
        except kinds as raised:
            error = raised
        assert SECRET not in "".join(traceback.format_exception(error)), "a secret is shown"
        assert not isinstance(error, DamagedDataError), error
        is_denied = isinstance(error, AccessError) or "AccessError:" in str(
            error
        )  # the second where units failed
        assert is_denied == (fault == 403) or fault == "no list", error
        assert self.protocol.url in str(error), error
        assert not _TEMPORARY.search(str(error)), error
        assert fault != "no ranges" or "ignores the Range header" in str(error), error
        return None, error

    def fail(self, name: str, fault: int | str, at: int) -> None:
        """Make a fault begin at a request of an operation, and check what is left, and that the same call finishes."""
        operation, known = OPERATIONS[name], self.clean(name)
        self.begin()
        met = self._begin_fault(fault, at, known)
        try:
            result, error = self.outcome(operation, fault)
        finally:
            self.protocol.options.pop("timeout", None)
            self.heal()
        if met is not None and not met.seen:  # threads and random names make some requests more or fewer
            assert at > 0
            self.fail(name, fault, at - 1)
            return
        if error is None and (fault != 404 or operation.reports_absent):
            assert self.is_said(operation, known, result), result
        is_changed = self.service.objects != self.base
        if is_changed:
            self.check_kept(known)
            self.finish(operation, known)

    def _begin_fault(self, fault: int | str, at: int, known: Known) -> Fault | None:
        service, path = self.service, ""
        if fault == "no list":
            service.absent, service.lists = 403, False
            return None
        if fault == "no ranges":
            service.ranges = False
            return None
        if fault == 404:  # a chunk that is not there was never written
            path = r"[.](json|zattrs|zgroup|zarray|zip)$"
        if fault == "less":  # nothing says how long other files are
            path = r"[.](json|zattrs|zgroup|zarray|zip)$|/[0-9]+$"
        if path:
            at = sum(bool(re.search(path, asked)) for _, asked in known.requests[:at])
        self.protocol.options.update({"timeout": 0.2} if fault == "late" else {})
        return service.fail(fault, method="*", path=path, after=at, times=1 if fault in ONCE else None)

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self.service.heal()
        self.service.absent, self.service.lists, self.service.ranges = 404, True, True

    def is_said(self, operation: Operation, known: Known, result: Any) -> bool:
        """Whether a result is as where nothing fails, or says that something could not be read."""
        told = operation.told
        return bool(result == known.result or (told is not None and told(result, known.result)))

    def finish(self, operation: Operation, known: Known) -> None:
        """Check that the same call finishes, with what was stored and with what this process remembers."""
        try:
            result = self.run(operation)
        except operation.done:  # it was done, and its answer was lost
            pass
        else:
            assert result == known.result, result
        found = self.stored()
        wrong = sorted(key for key in {*found, *known.objects} if found.get(key) != known.objects.get(key))
        assert wrong == [], wrong

    def check_kept(self, known: Known) -> None:
        """Check that each image with its labels and tables is there, as it was or as it is to be."""
        now = seen(self.service)
        states = [*self.old.values(), *known.seen.values()]
        for old in self.old.values():
            is_kept = any(image["level 0"] == old["level 0"] for image in known.seen.values())
            allowed = [image["level 0"] for image in (old, *known.seen.values())]
            assert not is_kept or any(image.get("level 0") in (None, *allowed) for image in now.values()), (
                "an image is lost"
            )
        for path in now.keys() & self.old.keys():  # pixels of others may not be written yet
            for name in now[path].keys() & self.old["A/1/0"].keys():
                found = now[path][name]
                assert any(found == state.get(name) for state in states), f"{name} is neither old nor new"
