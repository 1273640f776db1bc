"""Scenario: a plate on S3 whose service is slow, fails, cuts connections and loses answers at random.

One process makes calls at random: it creates positions, writes regions, edits attributes, computes pyramids, renames
and deletes, reads, and asks for status, checksums and validity. A call may be refused with a `StorageError`; then the
same call must succeed as soon as the service is well. What was read must be what was written, nothing may be missing,
and no verdict may name damage. In every second round an acquisition in a process of its own is killed (SIGKILL) at
random instants instead.
"""

from __future__ import annotations

import random
import time
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.remote import Fault, Service, aim_at, forget_file_systems

import lamella
from lamella.errors import DamagedDataError, LamellaError, NodeExistsError, NodeNotFoundError, StorageError
from lamella.store.objects.object_requests import _supports_conditions
from torture.instants import acquisition

if TYPE_CHECKING:
    from collections.abc import Callable

FAULTS = ("lost", "torn", "wrong", "false verdicts", "errors", "not finished")

URL = "s3://bucket/plate.zarr"

SHAPE = (2, 2, 2, 48, 64)

KINDS = ("slow", "slow", 500, 503, 429, "reset", "reset", "short", "lost")

CALLS = 40
"""Number of calls in a round."""


class Unreliable:
    """Makes requests of a service go wrong at random."""

    def __init__(self, service: Service, chance: random.Random) -> None:
        self.service, self.chance = service, chance
        self.rate = 0.0
        self.faults = 0
        service.fault_of = self.fault_of  # type: ignore[method-assign]

    def fault_of(self, method: str, path: str) -> Fault | None:
        """Choose the fault of a request; None for no fault."""
        with self.service.lock:
            if self.chance.random() >= self.rate:
                return None
            kind = self.chance.choice(KINDS)
            wait = self.chance.random() * 0.2
            self.faults += 1
        if kind == "slow":
            time.sleep(wait)
            return None
        return Fault(kind)


class RandomCalls:
    """Calls at random, and what the plate must hold after each."""

    def __init__(self, unreliable: Unreliable, version: str, counts: Counter[str], seed: int) -> None:
        self.unreliable, self.version, self.counts, self.seed = unreliable, version, counts, seed
        self.chance = random.Random(unreliable.chance.random())
        self.images: dict[str, np.ndarray] = {}
        self.keys: dict[str, int] = {}
        self.numbers = iter(range(1, 1 << 30))
        lamella.open_ome_zarr(URL, layout="hcs", mode="w-", channel_names=["a", "b"], version=version)

    def plate(self, mode: str = "r+") -> Any:
        """Open the plate."""
        names = None if mode == "r" else ["a", "b"]  # an empty plate does not store them
        return lamella.open_ome_zarr(URL, mode=mode, channel_names=names)

    def problem(self, kind: str, text: str) -> None:
        """Count a problem, with the seed that repeats it."""
        self.counts[kind] += 1
        self.counts[f"{text} (seed {self.seed})"] += 1

    def attempt(
        self, name: str, call: Callable[[], object], accepted_error: type[LamellaError] | tuple[()] = ()
    ) -> bool:
        """Make a call at a service that fails, and again when it is well; return whether the first one succeeded."""
        self.counts["calls"] += 1
        self.unreliable.rate = self.chance.choice([0, 0.02, 0.1, 0.3])
        try:
            call()
        except DamagedDataError as error:
            self.problem("false verdicts", f"{name}: {error}")
        except StorageError:
            self.counts["refused"] += 1
        except Exception as error:
            self.problem("errors", f"{name}: {error!r}")
        else:
            return True
        finally:
            self.unreliable.rate = 0
        try:
            call()
        except Exception as error:
            if not (accepted_error and isinstance(error, accepted_error)):
                self.problem("not finished", f"{name}: {error!r}")
        return False

    def some(self) -> str:
        """Choose a position."""
        return self.chance.choice(sorted(self.images))

    # ---- calls that change the plate ------------------------------------------------------------

    def create(self) -> None:
        """Create a position with an empty image."""
        row, column = self.chance.choice("ABC"), str(self.chance.randrange(1, 5))
        path = f"{row}/{column}/{next(self.numbers)}"
        shards = (1, 1, 2, 2, 2) if self.version == "0.5" and self.chance.random() < 0.7 else None
        array = {"shape": SHAPE, "dtype": "uint16", "chunks": (1, 1, 1, 16, 16), "shards_ratio": shards}
        names = [tuple(path.split("/"))]
        self.attempt(
            "create", lambda: self.plate().create_positions(names, arrays={"0": array}), NodeExistsError
        )
        self.images[path] = np.zeros(SHAPE, "uint16")

    def write(self) -> None:
        """Write one value into a region."""
        path = self.some()
        starts = [self.chance.randrange(length) for length in SHAPE]
        region = tuple(
            slice(start, self.chance.randrange(start + 1, length + 1))
            for start, length in zip(starts, SHAPE, strict=True)
        )
        value = next(self.numbers) % 60000 + 1

        def write() -> None:
            self.plate()[path]["0"][region] = value

        self.attempt("write", write)
        self.images[path][region] = value

    def edit(self) -> None:
        """Change a key of the plate's attributes."""
        key = f"key {self.chance.randrange(5)}"
        self.keys[key] = next(self.numbers)
        self.attempt("edit", lambda: self.plate().zattrs.update({key: self.keys[key]}))

    def pyramid(self) -> None:
        """Compute a level, and compare it unless it is listed as stale."""
        path = self.some()

        def compute() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.plate()[path].compute_pyramid(levels=2, method="stride", dims=["y", "x"])

        self.attempt("pyramid", compute)
        level = self.plate("r")[path]["1"][...]
        if (
            not np.array_equal(level, self.images[path][..., ::2, ::2])
            and not self.plate("r")[path].stale_levels
        ):
            self.problem("wrong", f"a level of {path} is another")

    def rename(self) -> None:
        """Rename a well."""
        old = self.some().rpartition("/")[0]
        new = f"{self.chance.choice('DEF')}/{next(self.numbers)}"
        self.attempt("rename", lambda: self.plate().rename_well(old, new), NodeNotFoundError)
        self.images = {
            f"{new}/{path.rpartition('/')[2]}" if path.startswith(f"{old}/") else path: image
            for path, image in self.images.items()
        }

    def delete(self) -> None:
        """Delete a position, unless few are left."""
        if len(self.images) < 4:
            return
        path = self.some()
        self.attempt("delete", lambda: self.plate().__delitem__(path), NodeNotFoundError)
        del self.images[path]

    # ---- calls that read ------------------------------------------------------------------------

    def read(self) -> None:
        """Compare a crop and all of an image."""
        path = self.some()
        y, x = self.chance.randrange(SHAPE[3]), self.chance.randrange(SHAPE[4])

        def look() -> None:
            for region in (np.s_[:, :, :, y : y + 20, x : x + 20], np.s_[...]):
                if not np.array_equal(self.plate("r")[path]["0"][region], self.images[path][region]):
                    self.problem("wrong", f"pixels of {path} are others")

        self.attempt("read", look)

    def look(self) -> None:
        """Ask for a verdict on the plate, or for its table."""

        def status() -> None:
            counts = lamella.status(URL).counts
            if counts["damaged"]:
                self.problem("false verdicts", f"status: {counts}")

        def verify() -> None:
            report = lamella.verify(URL)
            if report.damage:
                self.problem("false verdicts", f"verify: {report}")

        def validate() -> None:
            report = lamella.validate(URL)
            wrong = [
                finding for finding in report.findings if finding.level == "MUST" and finding.rule != "PL-12"
            ]
            if wrong and not self.unreliable.rate:
                self.problem("false verdicts", f"validate: {wrong[0]}")

        def table() -> None:
            if len(self.plate("r").table()) != len(self.images):
                self.problem("wrong", "a table lacks positions")

        call = self.chance.choice([status, verify, validate, table])
        self.attempt(call.__name__, call)

    def check(self) -> None:
        """Compare the plate with the expected one."""
        self.unreliable.rate = 0
        plate = self.plate("r")
        if {path for path, _ in plate.positions()} != set(self.images):
            self.problem("lost", "positions are missing or too many")
            return
        self.counts["lost"] += sum(plate.zattrs.get(key) != value for key, value in self.keys.items())
        for path, image in self.images.items():
            if not np.array_equal(plate[path]["0"][...], image):
                self.problem("lost", f"pixels of {path} are others")
        if not lamella.validate(URL):
            self.problem("errors", f"{lamella.validate(URL).findings[0]}")


def _make_calls(unreliable: Unreliable, counts: Counter[str], seed: int, calls: int) -> None:
    session = RandomCalls(unreliable, unreliable.chance.choice(["0.4", "0.5", "0.5"]), counts, seed)
    session.create()
    changes = [session.create, session.write, session.write, session.write, session.edit, session.pyramid]
    looks = [session.read, session.read, session.look, session.look]
    for _ in range(calls):
        session.chance.choice([*changes, *looks, session.rename, session.delete])()
    session.check()
    counts["faults"] += unreliable.faults


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Make rounds of calls until the time is over; return counts."""
    chance = random.Random(seed)
    counts: Counter[str] = Counter({"rounds": 0, "calls": 0, "refused": 0, **dict.fromkeys(FAULTS, 0)})
    ends = time.monotonic() + seconds
    while time.monotonic() < ends or not counts["rounds"]:
        with pytest.MonkeyPatch.context() as patch, Service() as service:
            aim_at(patch, service.endpoint)
            patch.setenv("AWS_MAX_ATTEMPTS", chance.choice(["1", "2"]))
            _supports_conditions["s3", service.endpoint, "bucket"] = True
            if counts["rounds"] % 2:
                service.latency = chance.choice([0, 0.002])
                acquisition("s3://bucket/a.zarr", chance, counts, seed)
            else:
                _make_calls(Unreliable(service, chance), counts, seed, CALLS if seconds else 12)
            forget_file_systems()
        counts["rounds"] += 1
    return dict(counts)
