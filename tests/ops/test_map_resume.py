"""Law: map skips a result only when the same function would make it again of the same source."""

from __future__ import annotations

import enum
import functools
import importlib
import importlib.metadata
import os
import subprocess
import sys
import threading
from dataclasses import dataclass

import numpy as np
import pytest

import lamella
from lamella.errors import InvalidArgumentError
from lamella.ops.plates.function_digest import NoDigestError, function_digest

PATHS = ("A/1/0", "B/2/0")
SHAPE = (1, 2, 3, 20, 24)


@pytest.fixture(params=["0.4", "0.5", "0.6"])
def plate(request, tmp_path):
    layout = {} if request.param == "0.4" else {"shards_ratio": (1, 1, 1, 2, 2)}
    with lamella.open_ome_zarr(
        tmp_path / "plate.zarr", layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version=request.param
    ) as plate:
        for seed, position in enumerate(plate.create_positions([p.split("/") for p in PATHS])):
            pixels = np.random.default_rng(seed).integers(0, 999, SHAPE, dtype="uint16")
            position.create_image("0", pixels, chunks=(1, 1, 2, 8, 8), **layout)
    return lamella.open_ome_zarr(tmp_path / "plate.zarr", mode="r+")


def projected(position):
    return position["0"][:].max(axis=2, keepdims=True)


def threshold(position):
    return (position["0"][:, 0] > 500).astype("uint8")


def halved(block):
    return block // 2


#: Options of map, by what is made.
WORKS = {
    "images": (projected, {"output": "out.zarr"}, "out.zarr", "0"),
    "regions": (halved, {"over": "regions", "output": "out.zarr"}, "out.zarr", "0"),
    "regions beside": (halved, {"over": "regions", "name": "half"}, "plate.zarr", "half"),
    "images beside": (projected, {"name": "max"}, "plate.zarr", "max"),
    "labels": (threshold, {"name": "labels/bright"}, "plate.zarr", "labels/bright/0"),
}


@pytest.fixture
def work(request, plate, tmp_path):
    function, options, store, array = WORKS[request.param]
    if "output" in options:
        options = {**options, "output": tmp_path / options["output"]}
    return lambda other=function: plate.map(other, **options), tmp_path / store, array


VERSIONS = ("0.4", "0.5", "0.6")


def in_turn(first):
    """Each work on a plate of one version, of the next one for the next work, from the `first` on."""
    return [(name, VERSIONS[(first + turn) % 3]) for turn, name in enumerate(WORKS)]


def files_of(store, array, path="B/2/0"):
    folder = store / path / array
    files = [
        f for f in folder.rglob("*") if f.is_file() and not f.name.startswith(".") and f.name != "zarr.json"
    ]
    return sorted(files)


def pixels(store, array):
    return {path: lamella.open_ome_zarr(store)[f"{path}/{array}"][:] for path in PATHS}


def same(one, other):
    return all(np.array_equal(one[path], other[path]) for path in PATHS)


@pytest.mark.parametrize(("work", "plate"), in_turn(0), indirect=True)
def test_the_same_call_skips_everything(work):
    run, store, array = work
    first = run()
    before = {f: f.stat().st_mtime_ns for f in store.rglob("*") if f.is_file()}
    again = run()
    assert (again.done, again.skipped) == (0, first.done)
    assert {f: f.stat().st_mtime_ns for f in store.rglob("*") if f.is_file()} == before
    assert files_of(store, array)
    assert lamella.validate(store)


@pytest.mark.parametrize(
    ("work", "plate", "how"),
    [
        (*case, how)
        for turn, how in enumerate(["truncated", "emptied", "removed", "overwritten", "replaced"])
        for case in in_turn(turn)
    ],
    indirect=["work", "plate"],
)
def test_an_output_that_was_changed_is_made_again(work, how):
    run, store, array = work
    run()
    wanted = pixels(store, array)
    file = files_of(store, array)[0]
    data = file.read_bytes()
    if how == "removed":
        file.unlink()
    elif how == "replaced":
        (file.parent / "other").write_bytes(data)
        (file.parent / "other").rename(file)
    else:
        file.write_bytes({"truncated": data[:-3], "emptied": b"", "overwritten": bytes(len(data))}[how])
    again = run()
    assert again.done >= 1
    assert again.skipped >= 1
    assert same(pixels(store, array), wanted)
    assert run().done == 0


@pytest.mark.parametrize(("work", "plate"), in_turn(1), indirect=True)
def test_a_changed_source_is_made_again(work, plate):
    run, store, array = work
    run()
    before = pixels(store, array)
    plate["B/2/0/0"][0, :, :, :8, :8] = 998
    again = run()
    assert again.done >= 1
    assert again.skipped >= 1
    after = pixels(store, array)
    assert np.array_equal(after["A/1/0"], before["A/1/0"])
    assert not np.array_equal(after["B/2/0"], before["B/2/0"])
    assert run().done == 0


@pytest.mark.parametrize(("work", "plate"), in_turn(2), indirect=True)
def test_another_function_makes_everything_again(work):
    run, _, array = work
    first = run()

    def other(given):
        if isinstance(given, np.ndarray):
            return given // 3
        return threshold(given) * 0 if array.startswith("labels") else projected(given) * 0

    assert run(other).done == first.done
    assert run(other).skipped == first.done
    assert run().done == first.done


def test_metadata_that_the_function_may_read_are_a_source(plate, tmp_path):
    plate.map(projected, output=tmp_path / "out.zarr")
    plate["B/2/0"].set_scale("0", "x", 0.5)
    assert plate.map(projected, output=tmp_path / "out.zarr").done == 1
    assert lamella.open_ome_zarr(tmp_path / "out.zarr")["B/2/0"].scale[-1] == 0.5
    plate["A/1/0"].zattrs["threshold"] = 3
    assert plate.map(projected, output=tmp_path / "out.zarr").done == 1


def test_a_copy_of_the_results_is_not_believed(plate, tmp_path):
    import shutil

    plate.map(projected, output=tmp_path / "out.zarr")
    shutil.copytree(tmp_path / "out.zarr", tmp_path / "copy.zarr")
    assert plate.map(projected, output=tmp_path / "copy.zarr").done == len(PATHS)


def test_records_of_an_earlier_release_and_damaged_ones_are_made_again(plate):
    import json

    works = [(halved, {"over": "regions", "name": "half"}), (projected, {"name": "max"})]
    for function, options in works:
        plate.map(function, **options)
    journal = next((plate.zgroup.store.root / "B/2/0/half").glob(".lamella-*"))
    document = plate["B/2/0"].zattrs
    document["lamella"] = {
        "map": {"max": {"function": "5f", "source": "9", "output": {"max": "7d"}}, "half": {}}
    }
    for text in ('{"work": "a", "regions": {"0:1": ["b", "c"]}}', "", "nonsense\n", json.dumps([1])):
        journal.write_text(text)
        done = [plate.map(function, **options).done for function, options in works]
        assert done[0] >= 1
        assert [plate.map(function, **options).done for function, options in works] == [0, 0]
    journal.unlink()
    journal.symlink_to("elsewhere")
    with pytest.raises(InvalidArgumentError, match="is not a file"):
        plate.map(halved, over="regions", name="half")
    assert not (journal.parent / "elsewhere").exists()


def test_what_map_did_not_make_is_not_replaced(plate, tmp_path):
    plate["B/2/0"].labels["bright"] = np.full((1, 3, 20, 24), 7, "uint8")
    with pytest.raises(
        InvalidArgumentError, match=r"labels/bright exists already, and was not computed by map"
    ):
        plate.map(threshold, name="labels/bright")
    assert list(plate["A/1/0"].labels) == []
    assert plate["B/2/0"].labels["bright"]["0"][:].min() == 7
    assert plate.map(threshold, name="labels/bright", resume=False).done == len(PATHS)
    with pytest.raises(InvalidArgumentError, match="The destination is the source"):
        plate.map(halved, over="regions", output=tmp_path / "plate.zarr", level="0")


def test_an_empty_array_that_was_prepared_is_filled(plate):
    for path in PATHS:
        plate[path].create_zeros("half", SHAPE, "uint16", chunks=(1, 1, 2, 8, 8))
    assert plate.map(halved, over="regions", name="half")
    assert np.array_equal(plate["B/2/0/half"][:], plate["B/2/0/0"][:] // 2)


def test_a_function_without_a_digest_is_called_again_with_a_warning(plate, tmp_path):
    lock = threading.Lock()

    def locked(position):
        with lock:
            return projected(position)

    assert plate.map(locked, output=tmp_path / "out.zarr").done == 2
    with pytest.warns(UserWarning, match=r"Nothing is skipped.*an object of _thread.lock in .*locked"):
        assert plate.map(locked, output=tmp_path / "out.zarr").done == 2


def test_a_store_without_fingerprints_is_made_again():
    from zarr.storage import MemoryStore

    store = MemoryStore()
    plate = lamella.open_ome_zarr(store, layout="hcs", mode="w", channel_names=["a"], version="0.5")
    plate.create_position("A", "1", "0")["0"] = np.ones((1, 1, 1, 8, 8), "uint8")
    for _ in range(2):
        assert plate.map(lambda p: p["0"][:], name="again", jobs=1).done == 1


@pytest.mark.parametrize("kind", ["images", "regions beside", "labels"])
def test_on_a_service_the_etags_say_what_is_done(service, kind):
    function, options, store, array = WORKS[kind]
    bucket = "s3://bucket"
    path = f"{bucket}/plate.zarr"
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w-", channel_names=["a", "b"], version="0.5"
    ) as plate:
        for position in plate.create_positions([path.split("/") for path in PATHS]):
            position.create_image("0", np.full(SHAPE, 600, "uint16"), chunks=(1, 2, 3, 20, 24))
    options = {**options, "output": f"{bucket}/out.zarr"} if "output" in options else options

    def run():
        with lamella.open_ome_zarr(path, mode="r+") as plate:
            return plate.map(function, **options)

    first = run()
    assert (run().done, run().skipped) == (0, first.done)
    with lamella.open_ome_zarr(path, mode="r+") as plate:
        plate["B/2/0/0"][:] = 200
    again = run()
    assert (again.done, again.skipped) == (first.done // 2, first.done // 2)
    with lamella.open_ome_zarr(f"{bucket}/{store}", mode="r+") as out:
        wanted = out[f"A/1/0/{array}"][:]
        out[f"A/1/0/{array}"][...] = 3
    assert run().done == first.done // 2
    assert np.array_equal(lamella.open_ome_zarr(f"{bucket}/{store}")[f"A/1/0/{array}"][:], wanted)


# -- the digest of a function -------------------------------------------------------------------------------------

FACTOR = 3


class Mode(enum.Enum):
    FAST = 1


@dataclass
class Filter:
    radius: int = 2

    def __call__(self, block):
        return helper(block) * self.radius

    def apply(self, block):
        return self(block)


def helper(block):
    return block * FACTOR


def scaled(block, power=1):
    return helper(block) ** power


def with_default(value):
    def inner(block, value=value):
        return block + value

    return inner


def with_closure(value):
    def inner(block):
        return block + value

    return inner


def traced(function):
    @functools.wraps(function)
    def wrapper(block):
        return function(block)

    return wrapper


DIFFERENT = {
    "lambdas": (lambda b: b + 1, lambda b: b + 2),
    "constants in an inner lambda": (lambda b: [lambda: b + 1], lambda b: [lambda: b + 2]),
    "attributes": (lambda b: b.min(), lambda b: b.max()),
    "defaults": (with_default(1), with_default(2)),
    "closures": (with_closure(1), with_closure(2)),
    "closures of type": (with_closure(1), with_closure(1.0)),
    "arrays": (with_closure(np.zeros(3)), with_closure(np.ones(3))),
    "arrays of type": (with_closure(np.zeros(3, "i4")), with_closure(np.zeros(3, "f4"))),
    "functions in a closure": (with_closure(lambda b: 1), with_closure(lambda b: 2)),
    "partial": (functools.partial(scaled, power=1), functools.partial(scaled, power=2)),
    "partial arguments": (functools.partial(scaled, 1), functools.partial(scaled, 2)),
    "objects": (Filter(1), Filter(2)),
    "methods": (Filter(1).apply, Filter(2).apply),
    "decorated": (traced(lambda b: 1), traced(lambda b: 2)),
    "cached": (functools.lru_cache(lambda b: 1), functools.lru_cache(lambda b: 2)),
    "C functions": (np.sqrt, np.square),
    "functions of numpy": (np.mean, np.median),
    "classes": (Filter, Mode),
    "enumerations": (with_closure(Mode.FAST), with_closure(1)),
    "dicts": (with_closure({"a": 1}), with_closure({"a": 2})),
    "sets": (with_closure({1, 2}), with_closure({1, 3})),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_functions_that_differ_have_different_digests(case):
    one, other = DIFFERENT[case]
    assert function_digest(one) == function_digest(one)
    assert function_digest(one) != function_digest(other)


CHANGES = {
    "a global": ("FACTOR", 4),
    "a helper": ("helper", lambda block: block),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("function", [scaled, Filter(2), Filter(2).apply, functools.partial(scaled, power=2)])
def test_what_a_function_uses_is_in_its_digest(monkeypatch, change, function):
    before = function_digest(function)
    monkeypatch.setattr(sys.modules[__name__], *CHANGES[change])
    assert function_digest(function) != before
    monkeypatch.undo()
    assert function_digest(function) == before


@pytest.mark.parametrize("how", ["attribute", "metadata"])
@pytest.mark.parametrize("function", [scaled, np.mean, lambda block: np.sqrt(block) + 1])
def test_another_version_of_numpy_is_another_digest(monkeypatch, how, function):
    before = function_digest(function)
    if how == "attribute":
        monkeypatch.setattr(np, "__version__", "99.0")
    else:
        version = importlib.metadata.version
        monkeypatch.setattr(
            importlib.metadata, "version", lambda name: "99" if name == "numpy" else version(name)
        )
    assert function_digest(function) != before


def test_another_version_of_a_package_that_a_helper_names(monkeypatch):
    import zarr

    def uses():
        return zarr.open_group

    function = with_closure(uses)
    before = function_digest(function)
    monkeypatch.setattr(zarr, "__version__", "99.0")
    assert function_digest(function) != before


PACKAGE = {
    "__init__.py": "from mapped.deep import inner\n",
    "main.py": (
        "import mapped\nfrom mapped import steps\nfrom mapped.deep.inner import core\n\n"
        "def f(block):\n    from .late import late\n    import mapped.later as later\n"
        "    found = steps.first(block) + core(block) + mapped.deep.inner.named(block)\n"
        "    return found + late(block) + later.last(block)\n"
    ),
    "steps.py": "def first(block):\n    return _second(block)\n\ndef _second(block):\n    return block + 1\n",
    "late.py": "def late(block):\n    return block + 1\n",
    "later.py": "def last(block):\n    return block + 1\n",
    "deep/__init__.py": "",
    "deep/inner.py": "def core(block):\n    return block + 1\n\ndef named(block):\n    return block * 2 + 1\n",
}


def test_modules_of_the_own_package_are_followed(tmp_path):
    for name, text in PACKAGE.items():
        (tmp_path / "mapped" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mapped" / name).write_text(text)
    script = (
        "from mapped.main import f\nfrom lamella.ops.plates.function_digest import function_digest\n"
        "print(function_digest(f))"
    )

    def digest():
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.run(
            [sys.executable, "-c", script], env=env, check=True, capture_output=True, text=True
        ).stdout

    before = digest()
    assert digest() == before
    for file in ("steps.py", "late.py", "later.py", "deep/inner.py", "deep/inner.py named"):
        changed = tmp_path / "mapped" / file.split()[0]
        text = changed.read_text()
        other = (
            text.replace("* 2 + 1", "* 2 + 5")
            if file.endswith("named")
            else text.replace("block + 1", "block + 5")
        )
        assert other != text
        changed.write_text(other)
        assert digest() != before, file
        changed.write_text(text)


@pytest.mark.parametrize(
    "value",
    [
        threading.Lock(),
        np.random.default_rng(0),
        object(),
        np.frompyfunc(lambda a: a, 1, 1),
    ],
)
def test_what_has_no_digest_is_named(value):
    with pytest.raises(
        NoDigestError, match=type(value).__name__ if not isinstance(value, np.ufunc) else "ufunc"
    ):
        function_digest(with_closure(value))
