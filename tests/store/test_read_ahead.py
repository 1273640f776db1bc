"""Law: a walk asks for the documents that the metadata name at once; consolidated copies are never taken for them."""

from __future__ import annotations

import functools
import json
import shutil
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import zarr
from zarr.storage import LocalStore, WrapperStore

from lamella import open_ome_zarr
from lamella.store.objects import document_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WELLS, FIELDS = 20, 10


class Counting(WrapperStore):
    """A store that counts the keys that are asked for, and the rounds: requests that wait for no other."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.asked: list[str] = []
        self.rounds = self.waiting = 0

    async def _count(self, key: str, work: Any) -> Any:
        import asyncio

        self.asked.append(key)
        self.rounds += not self.waiting
        self.waiting += 1
        try:
            await asyncio.sleep(0)  # lets requests that were made together overlap
            return await work
        finally:
            self.waiting -= 1

    async def get(self, key: str, *rest: Any, **named: Any) -> Any:
        return await self._count(key, super().get(key, *rest, **named))

    async def exists(self, key: str) -> bool:
        return await self._count(key, super().exists(key))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return functools.cache(lambda version: new_plate(tmp_path_factory.mktemp(version), version))


@pytest.fixture
def plate(tmp_path: Path, version: str, made: Callable[[str], Path]) -> Path:
    return shutil.copytree(made(version), tmp_path / "plate.zarr")


def new_plate(folder: Path, version: str) -> Path:
    """A plate of 200 positions, each with an array, with consolidated metadata."""
    path = folder / "plate.zarr"
    with open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI"], version=version) as node:
        names = [("A", str(column + 1), str(field)) for column in range(WELLS) for field in range(FIELDS)]
        for position in node.create_positions(names):
            position.create_zeros("0", (1, 1, 1, 8, 8), "uint8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # consolidated metadata is no part of the Zarr v3 specification
        zarr.consolidate_metadata(str(path))
    return path


def walk(path: Path, mode: str = "r", then: Any = None) -> tuple[Counting, list[str]]:
    store = Counting(LocalStore(path, read_only=mode == "r"))
    with open_ome_zarr(store, mode=mode) as node:
        found = []
        for name, position in node.positions():
            found.append(f"{name} {position.data.shape} {position.channel_names}")
            if then is not None:
                then(name)
    return store, found


def drop(path: Path, version: str) -> None:
    if version == "0.4":
        (path / ".zmetadata").unlink()
    else:
        document = json.loads((path / "zarr.json").read_bytes())
        del document["consolidated_metadata"]
        (path / "zarr.json").write_text(json.dumps(document))


def edit(path: Path, version: str, text: str, new: str) -> None:
    file = path / (".zattrs" if version == "0.4" else "zarr.json")
    old = file.read_text()
    assert text in old
    file.write_text(old.replace(text, new))


def test_a_walk_waits_once_for_many_positions(plate, version):
    drop(plate, version)
    store, found = walk(plate)
    assert len(found) == WELLS * FIELDS
    assert store.rounds * 10 <= len(found)
    documents = 2 if version == "0.4" else 1
    # Each document once, but for those of the root.
    assert len(store.asked) <= 10 + documents * (WELLS + 2 * WELLS * FIELDS)


def test_the_next_part_of_a_walk_is_requested_while_the_last_is_used(plate, version, monkeypatch):
    monkeypatch.setattr("lamella.nodes.ahead._FIELDS", 40)
    begun = threading.Event()

    class Watched(Counting):
        async def get(self, key: str, *rest: Any, **named: Any) -> Any:
            if key.startswith("A/5/0/"):  # the first field of the second part
                begun.set()
            return await super().get(key, *rest, **named)

    store = Watched(LocalStore(plate, read_only=True))
    with open_ome_zarr(store) as node:
        positions = node.positions()
        first = next(positions)[0]
        documents = 2 if version == "0.4" else 1
        assert len(store.asked) <= 10 + documents * (WELLS + 2 * 40)
        names = [first, *(next(positions)[0] for _ in range(29))]
        assert begun.wait(30)
        names += [name for name, _ in positions]
    assert names == [f"A/{column + 1}/{field}" for column in range(WELLS) for field in range(FIELDS)]


def test_a_walk_reads_all_where_the_system_allows_no_more_threads(plate, version, monkeypatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with open_ome_zarr(Counting(LocalStore(plate, read_only=True))) as node:
        next(node.positions())  # starts the threads of zarr-python
        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert len(list(node.positions())) == WELLS * FIELDS


def test_one_position_costs_no_more_than_its_documents(plate, version):
    store = Counting(LocalStore(plate, read_only=True))
    assert open_ome_zarr(store)["A/7/3"].data.shape == (1, 1, 1, 8, 8)
    assert len(store.asked) <= 10


def test_what_a_stale_copy_says_is_never_believed(plate, version):
    edit(plate / "A" / "12" / "5", version, "DAPI", "GFP")  # by a program that leaves the copies as they are
    edit(plate / "A" / "20" / "9", version, "DAPI", "Cy5")
    _, found = walk(plate)
    told = [text for text in found if "DAPI" not in text]
    assert told == ["A/12/5 (1, 1, 1, 8, 8) ['GFP']", "A/20/9 (1, 1, 1, 8, 8) ['Cy5']"]


def test_a_node_that_only_the_copies_know_is_not_there(plate, version):
    for file in (plate / "A" / "12" / "5").glob("*z*"):
        if file.is_file():
            file.unlink()
    with open_ome_zarr(Counting(LocalStore(plate, read_only=True))) as node:
        faults = [name for name, found in node.positions(on_error="report") if isinstance(found, Exception)]
    assert faults == ["A/12/5"]


def test_a_node_that_the_copies_miss_is_there(plate, version):
    document = plate / (".zmetadata" if version == "0.4" else "zarr.json")
    content = json.loads(document.read_bytes())
    kept = content if version == "0.4" else content["consolidated_metadata"]
    kept["metadata"] = {key: value for key, value in kept["metadata"].items() if not key.startswith("A/1/")}
    document.write_text(json.dumps(content))
    assert len(walk(plate)[1]) == WELLS * FIELDS


@pytest.mark.parametrize("damage", ["[]", '{"metadata": 3}', '{"metadata": {"../../x/.zattrs": {}}}', "{"])
def test_damaged_copies_are_no_hint(plate, version, damage):
    if version == "0.4":
        (plate / ".zmetadata").write_text(damage)
    else:
        document = json.loads((plate / "zarr.json").read_bytes())
        document["consolidated_metadata"] = damage if damage == "{" else json.loads(damage)
        (plate / "zarr.json").write_text(json.dumps(document))
    assert len(walk(plate)[1]) == WELLS * FIELDS


def test_a_store_that_is_open_for_writing_reads_nothing_ahead(plate, version):
    def change(name: str) -> None:
        if name == "A/1/9":
            edit(plate / "A" / "2" / "0", version, "DAPI", "GFP")

    _, found = walk(plate, "r+", change)
    assert "GFP" in found[10]


def test_what_came_ahead_is_given_once_and_not_for_long(plate, version, monkeypatch):
    store = Counting(LocalStore(plate, read_only=True))
    now = [0.0]
    monkeypatch.setattr(document_memory.time, "monotonic", lambda: now[0])
    with open_ome_zarr(store) as node:
        positions = node.positions()
        for _ in range(25):
            next(positions)
        edit(plate / "A" / "3" / "6", version, "DAPI", "GFP")
        now[0] = 60.0
        assert [next(positions)[1].channel_names for _ in range(5)][1] == ["GFP"]
