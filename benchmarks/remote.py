"""Count the requests, rounds and seconds of operations on an object store, of lamella and of other libraries.

    python benchmarks/remote.py [--latency MS] [--peers PYTHON] [--only CASE,...] [--page FILE]

The store is the server of the tests on loopback, which waits before each answer. Every operation runs in a process of
its own: once on another bucket, to import and compile what it needs, and once counted. The number of rounds is the
length of the longest chain of requests that each begin after the one before has been answered. PYTHON is an interpreter
with other libraries: zarr-python and iohub with obstore, TensorStore, ngff-zarr. If all cases are measured, the table
is written into the page.
"""

from __future__ import annotations

import argparse
import heapq
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Case = Callable[[str], Iterator[None]]

WELLS, FIELDS = 50, 4
LEVEL = (8, 512, 512)  # eight shards of four chunks
CROPS = [(n % 8, 64 * (n % 5), 64 * (n % 7)) for n in range(64)]
ARRAY = {"shape": (1, 1, 1, 64, 64), "dtype": "uint16"}


def fields(count: int) -> list[tuple[str, str, str]]:
    """Return row, column and name of a number of positions, four in each well."""
    wells = [number // FIELDS for number in range(count)]
    return [("ABCDEFGH"[well // 24], str(well % 24 + 1), str(n % FIELDS)) for n, well in enumerate(wells)]


def make(folder: str) -> None:
    """Write the plates and images that are read."""
    import numpy as np

    import lamella

    ones = np.ones(ARRAY["shape"], "uint16")
    for name, version in (("plate.zarr", "0.5"), ("old.zarr", "0.4")):
        path = f"{folder}/{name}"
        with lamella.open_ome_zarr(
            path, layout="hcs", mode="w", channel_names=["a"], version=version
        ) as plate:
            plate.create_positions(fields(WELLS * FIELDS), arrays={"0": ARRAY})
            for _, position in plate.positions():
                position["0"][...] = ones
    pixels = np.random.default_rng(0).poisson(100, (1, 1, *LEVEL)).astype("uint16")
    for name in ("image.zarr", "levels.zarr"):
        path = f"{folder}/{name}"
        with lamella.open_ome_zarr(path, layout="fov", mode="w", channel_names=["a"], version="0.5") as image:
            image.create_image("0", pixels, chunks=(1, 1, 1, 256, 256), shards_ratio=(1, 1, 1, 2, 2))
            if name == "image.zarr":
                image.compute_pyramid(levels=3)


# ---- lamella: only what comes after the `yield` is counted ---------------------------------------------------------


def _open(path: str, mode: str = "r") -> Any:
    import lamella

    return lamella.open_ome_zarr(path, mode=mode)


def open_image(url: str) -> Iterator[None]:
    yield
    _open(f"{url}/image.zarr")


def field_by_path(url: str) -> Iterator[None]:
    yield
    assert _open(f"{url}/plate.zarr/A/3/1")["0"].shape == ARRAY["shape"]


def field_of_plate(url: str) -> Iterator[None]:
    plate = _open(f"{url}/plate.zarr")
    yield
    assert plate["A/3/1"]["0"].shape == ARRAY["shape"]


def to_xarray(url: str) -> Iterator[None]:
    yield
    _open(f"{url}/image.zarr").to_xarray()


def walk(url: str) -> Iterator[None]:
    yield
    assert len([p["0"].shape for _, p in _open(f"{url}/plate.zarr").positions()]) == WELLS * FIELDS


def walk_old(url: str) -> Iterator[None]:
    yield
    assert len([p["0"].shape for _, p in _open(f"{url}/old.zarr").positions()]) == WELLS * FIELDS


def table(url: str) -> Iterator[None]:
    yield
    assert len(_open(f"{url}/plate.zarr").table()) == WELLS * FIELDS


def crop(url: str) -> Iterator[None]:
    array = _open(f"{url}/image.zarr")["0"]
    assert array.shape
    yield
    array[0, 0, 0, 10:40, 10:40]


def crop_again(url: str) -> Iterator[None]:
    array = _open(f"{url}/image.zarr")["0"]
    array[0, 0, 0, 10:40, 10:40]
    yield
    array[0, 0, 0, 10:40, 10:40]


def crops(url: str) -> Iterator[None]:
    array = _open(f"{url}/image.zarr")["0"]
    assert array.shape
    yield
    array.read_many([(0, 0, z, slice(y, y + 64), slice(x, x + 64)) for z, y, x in CROPS])


def level(url: str) -> Iterator[None]:
    array = _open(f"{url}/image.zarr")["0"]
    assert array.shape
    yield
    array[...]


def create_plate(url: str) -> Iterator[None]:
    import lamella

    yield
    with lamella.open_ome_zarr(
        f"{url}/new.zarr", layout="hcs", mode="w", channel_names=["a"], version="0.5"
    ) as plate:
        plate.create_positions(fields(50), arrays={"0": ARRAY})


def edit(url: str) -> Iterator[None]:
    image = _open(f"{url}/image.zarr", "r+")
    image.zattrs.update({"key": 0})
    yield
    image.zattrs.update({"key": 1})


def write_image(url: str) -> Iterator[None]:
    import numpy as np

    import lamella

    pixels = np.random.default_rng(0).poisson(100, (1, 1, 4, 1024, 1024)).astype("uint16")
    yield
    with lamella.open_ome_zarr(
        f"{url}/written.zarr", layout="fov", mode="w", channel_names=["a"], version="0.5"
    ) as image:
        image.create_image("0", pixels, chunks=(1, 1, 1, 512, 512))


def pyramid(url: str) -> Iterator[None]:
    image = _open(f"{url}/levels.zarr", "r+")
    yield
    image.compute_pyramid(levels=3)


def status(url: str) -> Iterator[None]:
    import lamella

    yield
    assert lamella.status(f"{url}/plate.zarr")


def preview(url: str) -> Iterator[None]:
    from lamella.adapters.png import write_preview

    with tempfile.TemporaryDirectory() as folder:
        yield
        write_preview(_open(f"{url}/plate.zarr"), f"{folder}/plate.png")


def rename_well(url: str) -> Iterator[None]:
    plate = _open(f"{url}/plate.zarr", "r+")
    yield
    plate.rename_well("A/2", "H/12")


def delete_well(url: str) -> Iterator[None]:
    plate = _open(f"{url}/plate.zarr", "r+")
    yield
    del plate["A/4"]


def upgrade(url: str) -> Iterator[None]:
    import lamella

    with tempfile.TemporaryDirectory() as folder:
        yield
        lamella.upgrade(f"{url}/old.zarr", "0.5", f"{folder}/new.zarr")


# ---- other libraries ----------------------------------------------------------------------------------------------


def _zarr(url: str, mode: str = "r") -> Any:
    import zarr
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return zarr.open_group(ObjectStore(S3Store(bucket, prefix=prefix)), mode=mode, zarr_format=3)


def zarr_open(url: str) -> Iterator[None]:
    yield
    _zarr(f"{url}/image.zarr")


def zarr_field(url: str) -> Iterator[None]:
    plate = _zarr(f"{url}/plate.zarr")
    yield
    assert plate["A/3/1/0"].shape == ARRAY["shape"]


def zarr_walk(url: str) -> Iterator[None]:
    yield
    plate = _zarr(f"{url}/plate.zarr")

    def walk_well(path: str) -> int:
        group = plate[path]
        paths = [image["path"] for image in group.attrs["ome"]["well"]["images"]]
        return len([group[path]["0"].shape for path in paths])

    with ThreadPoolExecutor(64) as pool:
        wells = [well["path"] for well in plate.attrs["ome"]["plate"]["wells"]]
        assert sum(pool.map(walk_well, wells)) == WELLS * FIELDS


def zarr_crop(url: str) -> Iterator[None]:
    array = _zarr(f"{url}/image.zarr")["0"]
    yield
    array[0, 0, 0, 10:40, 10:40]


def zarr_crop_again(url: str) -> Iterator[None]:
    array = _zarr(f"{url}/image.zarr")["0"]
    array[0, 0, 0, 10:40, 10:40]
    yield
    array[0, 0, 0, 10:40, 10:40]


def zarr_crops(url: str) -> Iterator[None]:
    array = _zarr(f"{url}/image.zarr")["0"]
    yield
    with ThreadPoolExecutor(64) as pool:
        list(
            pool.map(lambda crop: array[0, 0, crop[0], crop[1] : crop[1] + 64, crop[2] : crop[2] + 64], CROPS)
        )


def zarr_level(url: str) -> Iterator[None]:
    array = _zarr(f"{url}/image.zarr")["0"]
    yield
    array[...]


def zarr_edit(url: str) -> Iterator[None]:
    group = _zarr(f"{url}/image.zarr", "r+")
    yield
    group.attrs["key"] = 1


def _tensorstore(url: str) -> Any:
    import tensorstore

    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    kvstore = {"driver": "s3", "bucket": bucket, "path": f"{prefix}/image.zarr/0/".lstrip("/")}
    kvstore |= {"endpoint": os.environ["AWS_ENDPOINT_URL"], "aws_region": "us-east-1"}
    return tensorstore.open(
        {"driver": "zarr3", "kvstore": kvstore},
        context=tensorstore.Context({"cache_pool": {"total_bytes_limit": 1 << 26}}),
        recheck_cached_metadata="open",
    ).result()


def ts_crop(url: str) -> Iterator[None]:
    array = _tensorstore(url)
    yield
    array[0, 0, 0, 10:40, 10:40].read().result()


def ts_crop_again(url: str) -> Iterator[None]:
    array = _tensorstore(url)
    array[0, 0, 0, 10:40, 10:40].read().result()
    yield
    array[0, 0, 0, 10:40, 10:40].read().result()


def ts_crops(url: str) -> Iterator[None]:
    import tensorstore

    array = _tensorstore(url)
    yield
    with tensorstore.Batch() as batch:
        reads = [array[0, 0, z, y : y + 64, x : x + 64].read(batch=batch) for z, y, x in CROPS]
    for read in reads:
        read.result()


def ts_level(url: str) -> Iterator[None]:
    array = _tensorstore(url)
    yield
    array.read().result()


def _iohub(url: str, name: str, mode: str = "r", **options: Any) -> Any:
    from iohub.ngff import open_ome_zarr
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    path = f"{prefix}/{name}".lstrip("/")
    return open_ome_zarr(
        ObjectStore(S3Store(bucket, prefix=path)), mode=mode, **{"version": "0.5", **options}
    )


def iohub_open(url: str) -> Iterator[None]:
    yield
    _iohub(url, "image.zarr", layout="fov")


def iohub_field(url: str) -> Iterator[None]:
    plate = _iohub(url, "plate.zarr", layout="hcs")
    yield
    assert plate["A/3/1"]["0"].shape == ARRAY["shape"]


def iohub_walk(url: str) -> Iterator[None]:
    yield
    plate = _iohub(url, "plate.zarr", layout="hcs")
    assert len([position["0"].shape for _, position in plate.positions()]) == WELLS * FIELDS


def iohub_crop(url: str) -> Iterator[None]:
    array = _iohub(url, "image.zarr", layout="fov")["0"]
    yield
    array[0, 0, 0, 10:40, 10:40]


def iohub_level(url: str) -> Iterator[None]:
    array = _iohub(url, "image.zarr", layout="fov")["0"]
    yield
    array[...]


def iohub_create(url: str) -> Iterator[None]:
    yield
    with _iohub(url, "new.zarr", "w", layout="hcs", channel_names=["a"]) as plate:
        for position in plate.create_positions(fields(50)):
            position.create_zeros("0", **ARRAY)


def iohub_write(url: str) -> Iterator[None]:
    import numpy as np

    pixels = np.random.default_rng(0).poisson(100, (1, 1, 4, 1024, 1024)).astype("uint16")
    yield
    with _iohub(url, "written.zarr", "w", layout="fov", channel_names=["a"]) as image:
        image.create_image("0", pixels, chunks=(1, 1, 1, 512, 512))


def iohub_pyramid(url: str) -> Iterator[None]:
    image = _iohub(url, "levels.zarr", "r+", layout="fov")
    yield
    image.compute_pyramid(levels=3)


def _ngff_zarr(url: str, path: str) -> Any:
    import ngff_zarr

    options = {"key": "testing", "secret": "testing", "endpoint_url": os.environ["AWS_ENDPOINT_URL"]}
    return ngff_zarr.from_ome_zarr(
        f"{url}/{path}", storage_options={**options, "client_kwargs": {"region_name": "us-east-1"}}
    )


def ngff_zarr_open(url: str) -> Iterator[None]:
    yield
    _ngff_zarr(url, "image.zarr")


def ngff_zarr_field(url: str) -> Iterator[None]:
    yield
    assert _ngff_zarr(url, "plate.zarr/A/3/1").images[0].data.shape == ARRAY["shape"]


def ngff_zarr_crop(url: str) -> Iterator[None]:
    array = _ngff_zarr(url, "image.zarr").images[0].data
    yield
    array[0, 0, 0, 10:40, 10:40].compute()


def ngff_zarr_level(url: str) -> Iterator[None]:
    array = _ngff_zarr(url, "image.zarr").images[0].data
    yield
    array.compute()


#: By name of the operation: the function for lamella, and those for other libraries by their names.
CASES: dict[str, tuple[Case, dict[str, Case]]] = {
    "open an image": (
        open_image,
        {"zarr + obstore": zarr_open, "iohub + obstore": iohub_open, "ngff-zarr": ngff_zarr_open},
    ),
    "field by its path, with shape": (field_by_path, {"ngff-zarr": ngff_zarr_field}),
    "field of an open plate, with shape": (
        field_of_plate,
        {"zarr + obstore": zarr_field, "iohub + obstore": iohub_field},
    ),
    "open an image as xarray": (to_xarray, {}),
    "walk 200 fields": (walk, {"zarr + obstore": zarr_walk, "iohub + obstore": iohub_walk}),
    "walk 200 fields of 0.4": (walk_old, {}),
    "table of 200 fields": (table, {}),
    "crop": (
        crop,
        {
            "zarr + obstore": zarr_crop,
            "TensorStore": ts_crop,
            "iohub + obstore": iohub_crop,
            "ngff-zarr": ngff_zarr_crop,
        },
    ),
    "the same crop again": (crop_again, {"zarr + obstore": zarr_crop_again, "TensorStore": ts_crop_again}),
    "64 crops": (crops, {"zarr + obstore": zarr_crops, "TensorStore": ts_crops}),
    "whole level of 8 shards": (
        level,
        {
            "zarr + obstore": zarr_level,
            "TensorStore": ts_level,
            "iohub + obstore": iohub_level,
            "ngff-zarr": ngff_zarr_level,
        },
    ),
    "create a plate with 50 positions": (create_plate, {"iohub + obstore": iohub_create}),
    "edit one document": (edit, {"zarr + obstore": zarr_edit}),
    "write an image of 8 MiB in 16 chunks": (write_image, {"iohub + obstore": iohub_write}),
    "compute 2 levels of 8 shards": (pyramid, {"iohub + obstore": iohub_pyramid}),
    "status of 200 fields": (status, {}),
    "preview of 200 fields": (preview, {}),
    "rename a well of 13 objects": (rename_well, {}),
    "delete a well of 13 objects": (delete_well, {}),
    "upgrade of 200 fields from S3 to a folder": (upgrade, {}),
}


#: Goals, as requests / rounds: the fewest that another library or a prototype needs.
GOALS = {
    "open an image": "5 / 2",
    "field by its path, with shape": "5 / 2",
    "field of an open plate, with shape": "3 / 2",
    "open an image as xarray": "8 / 4",
    "walk 200 fields": "501 / 4",
    "walk 200 fields of 0.4": "501 / 4",
    "table of 200 fields": "501 / 4",
    "crop": "2 / 2",
    "the same crop again": "1 / 1",
    "64 crops": "40 / 2",
    "whole level of 8 shards": "8 / 1",
    "create a plate with 50 positions": "110 / 5",
    "edit one document": "2 / 2",
    "write an image of 8 MiB in 16 chunks": "20 / 4",
    "compute 2 levels of 8 shards": "22 / 6",
    "status of 200 fields": "- / 10",
    "preview of 200 fields": "1000 / 10",
    "rename a well of 13 objects": "20 / 7",
}


def child(library: str, case: Case) -> None:
    """Run a case once on another bucket; when the parent process sends a line, run it on the bucket that is counted."""
    counted = _count_rounds(case) if library == "lamella" else len(list(case("s3://warm"))) - 1
    work = case("s3://bucket")
    next(work)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    next(work, None)
    print(time.perf_counter() - start, counted, flush=True)


def _count_rounds(case: Case) -> int:
    """Run a case of lamella on another bucket, and count its rounds in the client, where requests begin and end."""
    from types import SimpleNamespace

    from tests.rounds import Rounds

    from lamella.store.objects.object_client import ObjectClient
    from lamella.store.objects.object_requests import _supports_conditions

    _supports_conditions["s3", os.environ["AWS_ENDPOINT_URL"], "warm"] = True
    new_store = ObjectClient._new_store
    counter = Rounds(SimpleNamespace(setattr=setattr))
    work = case("s3://warm")
    next(work)
    counter.clear()
    next(work, None)
    ObjectClient._new_store = new_store  # type: ignore[method-assign]
    return counter.rounds


def rounds(spans: list[tuple[float, float]]) -> int:
    """Return the length of the longest chain of requests that each begin after another one has ended.

    >>> rounds([(0, 1), (0, 2), (1.5, 3), (3.5, 4)])
    3
    """
    running: list[tuple[float, int]] = []
    ended_rounds = longest = 0
    for start, end in sorted(spans):
        while running and running[0][0] <= start:
            ended_rounds = max(ended_rounds, heapq.heappop(running)[1])
        heapq.heappush(running, (end, ended_rounds + 1))
        longest = max(longest, ended_rounds + 1)
    return longest


def measure(
    service: Any, stored: dict[str, bytes], python: str, library: str, case: Case
) -> tuple[int, int, float] | None:
    """Run a case in a process of its own; return requests, rounds and seconds, or None if it fails."""
    service.objects.clear()
    for path, data in stored.items():
        service.objects[f"/bucket{path}"] = service.objects[f"/warm{path}"] = data
    command = [python, __file__, "--child", f"{library}:{case.__name__}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            return None
        service.spans.clear()
        print("go", file=process.stdin, flush=True)
        text = process.stdout.readline()
        spans = list(service.spans)
    if not text:
        return None
    seconds, counted = text.split()
    return len(spans), int(counted) or rounds(spans), float(seconds)


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--latency", type=float, default=25, help="milliseconds before each answer")
    parser.add_argument("--peers", help="interpreter with other libraries")
    parser.add_argument("--only", metavar="CASE,...")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "remote-figures.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        library, _, name = args.child.partition(":")
        child(library, globals()[name])
        return 0
    from tests.remote import KEYS, Service

    from report import machine, markdown, write_block

    names = [name for name in CASES if args.only is None or name in args.only.split(",")]
    with tempfile.TemporaryDirectory() as folder, Service() as service:
        make(folder)
        service.put_folder(folder, "")
        stored = dict(service.objects)
        service.latency = args.latency / 1000
        os.environ |= {**KEYS, "AWS_ENDPOINT_URL": service.endpoint}
        rows = []
        for name in names:
            lamella_case, other_cases = CASES[name]
            runs = [("lamella", sys.executable, lamella_case)]
            runs += [(peer, args.peers, case) for peer, case in other_cases.items() if args.peers]
            for library, python, case in runs:
                figures_of_case = measure(service, stored, python, library, case)
                figures = (
                    ["fails", "", ""]
                    if figures_of_case is None
                    else [*map(str, figures_of_case[:2]), f"{figures_of_case[2]:.2f} s"]
                )
                goal = GOALS.get(name, "") if library == "lamella" else ""
                rows.append([name if library == "lamella" else "", library, *figures, goal])
                print(*rows[-1], sep="  ", flush=True)
    table = markdown(["operation", "library", "requests", "rounds", "time", "goal"], rows)
    if args.only is None:
        measured = f"A server on loopback answers every request after {args.latency:g} ms. {machine()}."
        write_block("remote", f"{measured}\n\n{table}", args.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
