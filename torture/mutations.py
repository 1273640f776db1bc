"""Damage metadata documents: their structure, their text, and the bytes of their file.

Every change is drawn from a `random.Random`, so that a seed and a number reproduce it.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 7, 255, 2**31, 2**53 + 1, 2**60, 2**62, 2**63, 2**64, 10**30, 10**400),
    *(0.0, -0.5, 0.1, 1.5, 1e-320, 1e308, float("nan"), float("inf"), float("-inf"), True, False),
)
TEXTS: tuple[str, ...] = (
    *("", "0", "1", "A", "a", "A/1", "A/1/0", "0/0", "labels", "OME", "zarr.json", ".zattrs", ".zarray"),
    *("..", ".", "../..", "../outside", "/etc/passwd", "A/../..", "A//1", "A\\1", "C:", "con", "NUL.txt"),
    *(
        "a\0b",
        "x" * 300,
        "y/" * 300,
        "e\u0301",
        "\u00e9",
        "\uff0f",
        "A\uff0f1",
        "\u2024\u2024",
        "\ud800",
        "\U0001f52c",
    ),
    *("space", "time", "channel", "T", "c", "z", "micrometer", "furlong", "scale", "translation", "identity"),
    *(
        "0.1",
        "0.3",
        "0.4",
        "0.5",
        "0.6",
        "0.7",
        "9.9",
        "uint8",
        "<u2",
        ">u2",
        "|b1",
        "float32",
        "<f8",
        "|S4",
        "|O",
        "<M8[ns]",
    ),
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "0x7fc00000",
        "0xzz",
        "regular",
        "default",
        "v2",
        "bytes",
        "blosc",
        "zstd",
    ),
    *(
        "gzip",
        "crc32c",
        "transpose",
        "sharding_indexed",
        "vlen-utf8",
        "lzma",
        "delta",
        "FFFFFF",
        "#00ff00",
        "group",
        "array",
    ),
    *("C", "F", "/", ".", "little", "big", "end", "start", "<script>alert(1)</script>", "%s%n{0}"),
)
OTHERS: tuple[Any, ...] = (None, [], {}, [[]], [None], {"": None}, [0], ["0"], {"name": "x"}, [1.0] * 5, [{}])
KEYS: tuple[str, ...] = (
    *(
        "ome",
        "version",
        "multiscales",
        "axes",
        "datasets",
        "path",
        "coordinateTransformations",
        "type",
        "scale",
    ),
    *(
        "translation",
        "name",
        "unit",
        "omero",
        "channels",
        "window",
        "start",
        "end",
        "min",
        "max",
        "label",
        "color",
    ),
    *(
        "active",
        "rdefs",
        "plate",
        "rows",
        "columns",
        "wells",
        "rowIndex",
        "columnIndex",
        "acquisitions",
        "field_count",
    ),
    *(
        "well",
        "images",
        "acquisition",
        "labels",
        "image-label",
        "colors",
        "label-value",
        "rgba",
        "properties",
        "source",
    ),
    *(
        "bioformats2raw.layout",
        "series",
        "zarr_format",
        "node_type",
        "shape",
        "data_type",
        "dtype",
        "chunks",
        "chunk_grid",
    ),
    *(
        "chunk_key_encoding",
        "fill_value",
        "codecs",
        "compressor",
        "filters",
        "order",
        "dimension_separator",
        "configuration",
    ),
    *(
        "dimension_names",
        "attributes",
        "storage_transformers",
        "consolidated_metadata",
        "coordinateSystems",
        "must_understand",
    ),
    *("_ARRAY_DIMENSIONS", "lamella", "metadata", "id", "__class__", ""),
)


def value(random: random.Random) -> Any:
    """Draw a JSON value that is unusual in most documents."""
    pool = random.choice((NUMBERS, TEXTS, OTHERS))
    return copy.deepcopy(random.choice(pool))


def value_paths(document: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a document."""
    paths = []
    members = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for key, member in members:
        paths.append((*above, key))
        paths.extend(value_paths(member, (*above, key)))
    return paths


def _container(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


def _replace(random: random.Random, container: Any, key: Any) -> None:
    container[key] = value(random)


def _nudge(random: random.Random, container: Any, key: Any) -> None:
    old = container[key]
    if isinstance(old, bool) or not isinstance(old, int | float | str | list):
        container[key] = value(random)
    elif isinstance(old, int | float):
        container[key] = random.choice(
            (
                old + 1,
                old - 1,
                -old,
                old * 2,
                old / 2 if abs(old) < 2**999 else 0.5,
                str(old),
                [old],
                random.choice(NUMBERS),
            )
        )
    elif isinstance(old, str):
        container[key] = random.choice(
            (
                old.upper(),
                old.lower(),
                old + " ",
                old + ".",
                f" {old}",
                old[:-1],
                old * 2,
                f"../{old}",
                f"/{old}",
                [old],
                None,
            )
        )
    else:
        container[key] = random.choice(
            (
                old[:-1],
                old * 2,
                old[::-1],
                [old],
                old[1:],
                [*old, value(random)],
                dict(enumerate(map(str, old))),
            )
        )


def _drop(_: random.Random, container: Any, key: Any) -> None:
    del container[key]


def _rename(random: random.Random, container: Any, key: Any) -> None:
    if isinstance(container, dict):
        container[random.choice((*KEYS, str(key).upper(), f"{key} ", str(key)[:-1]))] = container.pop(key)
    else:
        container.insert(random.randrange(len(container) + 1), copy.deepcopy(container[key]))


def _add(random: random.Random, container: Any, key: Any) -> None:
    del key
    if isinstance(container, dict):
        container[random.choice(KEYS)] = value(random)
    else:
        container.append(value(random))


def _copy_over(random: random.Random, container: Any, key: Any) -> None:
    others = list(container.values()) if isinstance(container, dict) else container
    container[key] = copy.deepcopy(random.choice(others))


def _wrap(random: random.Random, container: Any, key: Any) -> None:
    container[key] = random.choice(([container[key]], {"value": container[key]}, {str(key): container[key]}))


def _deepen(random: random.Random, container: Any, key: Any) -> None:
    deep: Any = container[key]
    for _ in range(random.choice((20, 200, 700))):
        deep = [deep] if random.random() < 0.5 else {"transformations": [deep]}
    container[key] = deep


_STRUCTURAL: tuple[Callable[[random.Random, Any, Any], None], ...] = (
    *(
        _replace,
        _replace,
        _replace,
        _nudge,
        _nudge,
        _nudge,
        _drop,
        _drop,
        _rename,
        _add,
        _copy_over,
        _wrap,
        _deepen,
    ),
)


def mutate_structure(data: bytes, random: random.Random) -> bytes:
    """Change one to three values of a document."""
    try:
        return _changed(data, random)
    except RecursionError:  # made deeper twice
        return b"[" * 5000 + b"]" * 5000


def _changed(data: bytes, random: random.Random) -> bytes:
    document = json.loads(data)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        paths = value_paths(document)
        if not paths:
            return json.dumps(value(random)).encode()
        path = random.choice(paths)
        random.choice(_STRUCTURAL)(random, _container(document, path), path[-1])
    return json.dumps(document).encode("utf-8", "surrogatepass")


def mutate_text(data: bytes, random: random.Random) -> bytes:  # noqa: PLR0911 (a table of twelve ways)
    """Change the bytes of a document, whatever they mean."""
    at = random.randrange(len(data) + 1)
    kind = random.randrange(12)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes(random.randrange(256) for _ in range(random.choice((1, 2, 8)))) + data[at:]
    if kind == 2:
        return bytes(b if i != at else b ^ (1 << random.randrange(8)) for i, b in enumerate(data))
    if kind == 3:
        return data[:at] + data[at + random.choice((1, 2, 5, 20)) :]
    if kind == 4:
        return data[:at] + data[random.randrange(len(data)) :]
    if kind == 5:
        return random.choice(
            (b"", b" ", b"[]", b"null", b"3", b'"x"', b"{}", b"[{}]", b"\0" * len(data), b"NaN")
        )
    if kind == 6:
        return data.decode("utf-8", "replace").encode(random.choice(("utf-16", "utf-32", "utf-8-sig")))
    if kind == 7:
        return (
            data[:at] + random.choice((b"[", b"{", b'{"a":')) * random.choice((10, 1500, 100_000)) + data[at:]
        )
    if kind == 8:
        return data + data
    if kind == 9:
        return b"{" + _second_key(data, random) + data.lstrip()[1:]
    if kind == 10:
        return data.replace(b":", random.choice((b': 1e999, "n":', b":-", b"::", b': Infinity,"i":')), 1)
    return data[:at] + data[at:].swapcase()


def _second_key(data: bytes, random: random.Random) -> bytes:
    document = json.loads(data)
    key = random.choice(list(document) or ["x"])
    return json.dumps({key: value(random)}).encode("utf-8", "surrogatepass")[1:-1] + b","


def mutate(data: bytes, random: random.Random) -> bytes:
    """Change the structure of a document, or in one case of five its bytes."""
    return mutate_structure(data, random) if random.random() < 0.8 else mutate_text(data, random)
