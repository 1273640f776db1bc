"""Works on S3 that is gone from one of their requests on, as it is for a process that is killed there.

Used by tests and by ``torture``.
"""

from __future__ import annotations

import shutil
import warnings
from typing import TYPE_CHECKING

from tests.remote import Fault

import lamella
from lamella.errors import (
    LamellaError,
    MetadataError,
    NodeNotFoundError,
    StorageError,
    StoreExistsError,
    StoreNotFoundError,
)
from lamella.store.objects.object_requests import _supports_conditions

from .states import State, digest, settled
from .test_kills import check_killed
from .test_levels_after_kills import VERSIONS as LEVELS
from .test_levels_after_kills import check_store
from .works import WORKS as FOLDER_WORKS
from .works import Work, plate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.remote import Service

    from .works import Acknowledge

BUCKET = "/bucket"

CHANGING = ("PUT", "POST", "DELETE")


def _upgrade(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    lamella.upgrade(folder / "plate.zarr", "0.5" if version == "0.4" else "0.6", folder / "new.zarr", jobs=1)


def _rechunk(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    lamella.rechunk(folder / "plate.zarr", folder / "new.zarr", chunks=(1, 4, 12), jobs=1)


def _copy(folder: Path, version: str, acknowledge: Acknowledge) -> None:
    if not lamella.copy_store(folder / "plate.zarr", folder / "new.zarr"):
        raise StorageError("the plate was not copied as a whole")


WORKS = {
    **FOLDER_WORKS,
    "upgrade": Work(plate, _upgrade, StoreExistsError),
    "rechunk": Work(plate, _rechunk, StoreExistsError),
    "copy": Work(plate, _copy, StoreExistsError),
}
"""The works at URLs: there a store is not rewritten in its place."""

#: Works that are not made at URLs: their files lie in a folder, or what they write is there twice.
_LOCAL = ("levels of an image", "checksums", "watch", "watch more positions")
NAMES = tuple(name for name in WORKS if name not in _LOCAL and not name.startswith("export"))

_MOVED = ("MS-01", "MS-04", "PL-12", "ST-01", "WL-01")
#: Rules that wells and positions may break which are not listed yet: their documents are written at once, in any order.
HALF_WAY = dict.fromkeys(
    ("bulk creation", "add positions", "rename a position", "rename a well", "swap wells"), _MOVED
)
#: A level that is replaced is at neither name for a moment: lamella reads it under a third one, others find none.
HALF_WAY["delete a channel"] = ("MS-04",)
#: So are labels that are renamed.
HALF_WAY["rename labels"] = ("LB-01", "MS-04", "ST-01")
#: The `.zgroup` of the root is written last.
HALF_WAY |= dict.fromkeys(
    ("copy", "convert", "convert over a store", "rechunk", "upgrade", "mosaic"), ("ST-01",)
)

#: The images of a work that readers see with all of their old pixels, or all of their new ones.
WHOLE = {"delete a channel": ("A/1/1",), "convert over a store": ("", "A/1/0", "A/1/1", "B/2/0")}


class Url(str):
    """A URL of a folder, to which names are added as to a path."""

    __slots__ = ()

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self}/{name}".rstrip("/"))


ROOT = Url(f"s3:/{BUCKET}")


class Dying:
    """Makes the service die at its n-th request that changes something; with `half`, a bulk deletion is half done."""

    def __init__(self, service: Service, n: int, half: int = 0) -> None:
        self.service, self.n, self.half, self.seen = service, n, half, 0
        service.fault_of = self.fault_of  # type: ignore[method-assign]

    def fault_of(self, method: str, path: str) -> Fault | None:
        with self.service.lock:
            self.seen += method in CHANGING
            if self.seen <= self.n:
                return None
            if self.seen == self.n + 1 and method == "POST" and self.half:
                below = sorted(key for key in self.service.objects if "/plate.zarr/A/1/" in key)
                own = [key for key in below if key.count("/") == 5]
                # These are deleted first, the others by the next.
                for key in (own or below)[self.half - 1 :: 2]:
                    del self.service.objects[key]
                self.half = 0
            return Fault("reset")

    def revive(self) -> None:
        del self.service.fault_of


class _Stored(dict[str, bytes]):
    """Objects of a service; the digests of all that were ever stored are in `written`."""

    written: set[str]

    def __setitem__(self, key: str, data: bytes) -> None:
        super().__setitem__(key, data)
        self.written.add(digest(key, data))


class StoreKiller:
    """One work at a service that dies.

    Parameters
    ----------
    service
        The service that ``s3://`` URLs reach.
    name, version
        The work, and the version of its stores.
    folder
        A new folder for what is compared.
    """

    def __init__(self, service: Service, name: str, version: str, folder: Path) -> None:
        self.service, self.name, self.version, self.folder = service, name, version, folder
        self.work = WORKS[name]
        _supports_conditions["s3", service.endpoint, BUCKET[1:]] = True
        (folder / "old").mkdir(parents=True)
        self.work.prepare(folder / "old", version)
        service.put_folder(folder / "old", BUCKET)
        self._before = {key: data for key, data in service.objects.items() if key.startswith(BUCKET)}
        self._stored = _Stored()
        self._stored.written = set()
        service.objects = self._stored
        self._restore()
        service.requests.clear()
        self.work.run(ROOT, version, lambda _: None)  # type: ignore[arg-type]
        #: How many requests change something.
        self.changes = sum(method in CHANGING for method, _ in service.requests)
        self._whole = self._settled()
        new_images = self._images()
        self._restore()
        self._allowed = [self._images(), new_images]
        for key in self._before.keys() - self._whole.keys():
            del self._stored[key]
        for key, data in self._whole.items():
            self._stored[key] = data
        self._old, self._new = State.of(folder / "old"), self._state("new")

    def _restore(self) -> None:
        self._stored.clear()
        for key, data in self._before.items():
            self._stored[key] = data

    def _settled(self) -> dict[str, bytes]:
        return {key: settled(key, data) for key, data in self._stored.items()}

    def _state(self, name: str) -> State:
        return State.of(self._downloaded(name))

    def _images(self) -> dict[str, tuple[list[str], bytes] | str]:
        """Return the channels and pixels of images that are old or new as a whole, or why they are not read."""
        found: dict[str, tuple[list[str], bytes] | str] = {}
        for path in WHOLE.get(self.name, ()):
            try:
                image = lamella.open_ome_zarr(ROOT / "plate.zarr" / path)
                if isinstance(image, lamella.Position):
                    found[path] = image.channel_names, image.data[:].tobytes()
            except (NodeNotFoundError, StoreNotFoundError, MetadataError, StorageError) as error:
                found[path] = str(error)
        return found

    def _check_images(self) -> None:
        """Check that readers find old or new images, or are refused because a store is being replaced."""
        for path, found in self._images().items():
            allowed = [images.get(path) for images in self._allowed]
            if self.name == "convert over a store" and isinstance(found, str):
                assert path or "a new store is being written there" in found, found
            else:
                assert found in allowed, f"{path} is neither old nor new"

    def _downloaded(self, name: str) -> Path:
        folder = self.folder / name
        for key, data in self._stored.items():
            file = folder / key.removeprefix(f"{BUCKET}/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return folder

    def kill(self, at: int) -> None:
        """Make the service die before the request `at` that changes something, check what is there, and finish."""
        self._restore()
        dying = Dying(self.service, at)
        acknowledged: list[str] = []
        try:
            self.work.run(ROOT, self.version, acknowledged.append)  # type: ignore[arg-type]
        except LamellaError:
            pass
        finally:
            dying.revive()
        folder = self._downloaded("killed")
        self._drop_incomplete(folder)
        try:
            line = {
                "acknowledged": acknowledged,
                "work": self.name,
                "half_way": HALF_WAY.get(self.name, ()),
                "grows": self.name == "levels of a stream",
            }
            check_killed(folder, line, self._old, self._new, self._stored.written)
            if self.name in LEVELS and (folder / "plate.zarr").exists():
                check_store(folder / "plate.zarr")
            self._check_images()
        finally:
            shutil.rmtree(folder)
        self._finish()

    def _drop_incomplete(self, folder: Path) -> None:
        """Delete a new store that says that it is incomplete: what it has is not to be compared."""
        for store in (folder / "new.zarr", folder / "plate.zarr"):
            if not store.exists() or (store.name == "plate.zarr" and self.name != "convert over a store"):
                continue
            try:
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    lamella.open_ome_zarr(store)
            except LamellaError:  # its documents are written last
                shutil.rmtree(store)
                continue
            if any("incomplete" in str(one.message) for one in said):
                shutil.rmtree(store)

    def _finish(self) -> None:
        try:
            self.work.run(ROOT, self.version, lambda _: None)  # type: ignore[arg-type]
        except LamellaError as error:
            if not self.work.done or not isinstance(error, self.work.done):
                raise
        found = self._settled()
        other = [key for key in {**found, **self._whole} if found.get(key) != self._whole.get(key)]
        assert other == [], other


def points(changes: int, most: int) -> Iterator[int]:
    """Yield so many of the requests at which a service can die: the first, the last, and some between them."""
    count = min(most, changes)
    yield from sorted({round(n * (changes - 1) / max(1, count - 1)) for n in range(count)})
