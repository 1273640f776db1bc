"""Run as a script: use stores while every call to the file system is recorded, and print what should not have been.

``python watched.py names FOLDER`` gives bad names to every call and document that takes one; FOLDER holds ``in/a.zarr``
and ``in/p.zarr``, and anything outside of these two is out of bounds. ``python watched.py reading STORE ...`` reads
stores in every way; nothing may be written, anywhere. ``python watched.py links FOLDER/in/STORE ...`` uses
stores with a link out of them; nothing else in FOLDER may be touched.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

#: Calls that change something, with the places of their paths among the arguments.
WRITES = {
    "os.rename": (0, 1), "os.remove": (0,), "os.unlink": (0,), "os.mkdir": (0,), "os.rmdir": (0,), "os.link": (0, 1),
    "os.symlink": (0, 1), "os.truncate": (0,), "os.utime": (0,), "os.chmod": (0,), "os.chown": (0,),
    "shutil.rmtree": (0,), "shutil.move": (0, 1), "shutil.copyfile": (0, 1), "fcntl.flock": (), "fcntl.lockf": (),
}  # fmt: skip
READS = {"os.listdir": (0,), "os.scandir": (0,)}
CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

seen: list[tuple[str, str, bool]] = []
"""What was called: event, path, and whether it changes something."""

recording = False


def hook(event, arguments):
    if not recording:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, str | bytes):
            seen.append((event, os.path.abspath(os.fsdecode(path)), bool((flags or 0) & CHANGING)))
    for table, changing in ((WRITES, True), (READS, False)):
        if event in table:
            paths = [arguments[place] for place in table[event]] or [""]
            seen.extend(
                (
                    event,
                    os.path.abspath(os.fsdecode(p)) if isinstance(p, str | bytes) and p else str(p),
                    changing,
                )
                for p in paths
            )


def names(folder: Path) -> list[str]:
    """Give bad names to everything that takes one; return what touched anything outside of the two stores."""
    import lamella
    from lamella.errors import LamellaError

    secret = str(folder / "secret.zarr")
    bad = [
        "..",
        ".",
        "",
        "../secret.zarr",
        "../../secret.zarr",
        secret,
        f"{secret}/0",
        "a/../../../secret.zarr",
    ]
    bad += [
        "a\0b",
        "x" * 300,
        "y/" * 40,
        "..\\..\\secret.zarr",
        "C:\\secret.zarr",
        "A//1",
        "\ud800",
        "~/secret.zarr",
    ]
    bad += [
        "..\uff0f..\uff0fsecret.zarr",
        "\uff0e\uff0e/secret.zarr",
        "\u2024\u2024/secret.zarr",
        "%2e%2e/secret.zarr",
        "$HOME",
    ]
    image, plate = folder / "in" / "a.zarr", folder / "in" / "p.zarr"
    problems = []

    def calls(name):
        position, whole = lamella.open_ome_zarr(image, mode="r+"), lamella.open_ome_zarr(plate, mode="r+")
        well, source = whole["A/1"], [[[[[1]]]]]
        yield "position[name]", lambda: position[name]
        yield "name in position", lambda: name in position
        yield "create_image", lambda: position.create_image(name, source)
        yield "create_zeros", lambda: position.create_zeros(name, (1, 1, 1, 1, 1), "u1")
        yield "del position[name]", lambda: position.__delitem__(name)
        yield "scale", lambda: position.get_effective_scale(name)
        yield "update_channel", lambda: position.update_channel("GFP", name, 0)
        yield "write_xarray", lambda: position.write_xarray(position.to_xarray(), name)
        yield "labels[name]", lambda: position.labels[name]
        yield "labels.create", lambda: position.labels.create(name, position["0"][:, 0])
        yield "labels.rename", lambda: position.labels.rename("cells", name)
        yield "plate[name]", lambda: whole[name]
        yield "name in plate", lambda: name in whole
        yield "create_well", lambda: whole.create_well(name, "1")
        yield "create_position", lambda: whole.create_position("A", name, "0")
        yield "create_positions", lambda: whole.create_positions([("A", "1", name)])
        yield "well.create_position", lambda: well.create_position(name)
        yield "rename_well", lambda: whole.rename_well("A/1", name)
        yield "rename_well from", lambda: whole.rename_well(name, "B/2")
        yield "del plate[name]", lambda: whole.__delitem__(name)

    def documents(name):
        edits = {
            "dataset": (image, ("multiscales", 0, "datasets", 0, "path")),
            "label": (image / "labels", ("labels", 0)),
            "source of a label": (image / "labels" / "cells", ("image-label", "source", "image")),
            "well": (plate, ("plate", "wells", 0, "path")),
            "row": (plate, ("plate", "rows", 0, "name")),
            "image": (plate / "A" / "1", ("well", "images", 0, "path")),
        }
        for what, (group, keys) in edits.items():
            file = group / "zarr.json"
            kept = file.read_bytes()
            document = json.loads(kept)
            holder = document["attributes"]["ome"]
            for key in keys[:-1]:
                holder = holder[key]
            holder[keys[-1]] = name
            file.write_text(json.dumps(document))
            yield what, plate if plate in (group, *group.parents) else image
            file.write_bytes(kept)

    def check(what, use):
        global recording  # noqa: PLW0603
        seen.clear()
        recording = True
        try:
            use()
        except (LamellaError, IndexError):  # an index of numpy is no name
            pass
        except Exception as error:
            problems.append(f"{what}: {type(error).__name__} {error}")
        finally:
            recording = False
        outside = {
            path
            for _, path, _ in seen
            if path.startswith(str(folder)) and not path.startswith((f"{image}", f"{plate}"))
        }
        # Above a store lies perhaps the plate that a row belongs to: asked for the documents of one, never more.
        outside -= {str(folder / "in" / file) for file in ("zarr.json", ".zgroup", ".zarray", ".zattrs")}
        problems.extend(f"{what}: {path}" for path in sorted(outside))

    from torture import uses

    for use in uses.READING[:1]:
        use(image)
    looks = (uses.opening, uses.validating, uses.planning_repair, uses.summarizing)
    for number, name in enumerate(bad):
        for what, use in calls(name):
            check(f"{what} {name[:40]!r}", use)
        # One of the ways to look for each document, another for the next one and for the next name.
        for place, (what, store) in enumerate(documents(name)):
            use = looks[(number + place) % 4]
            check(f"{use.__name__} {what} {name[:40]!r}", lambda use=use, store=store: use(store))
    return problems


def reading(stores: list[Path]) -> list[str]:
    """Read stores in every way; return what was written, or locked."""
    global recording  # noqa: PLW0603
    from torture import uses

    for use in (uses.opening, uses.summarizing, uses.validating_pixels):
        use(stores[0])  # what imports write (bytecode, caches of numba) is not a store's reading
    recording = True
    for store in stores:
        for use in (
            uses.opening,
            uses.looking,
            uses.validating,
            uses.validating_pixels,
            uses.planning_repair,
            uses.summarizing,
        ):
            found = uses.unclear_outcome(use, store)
            if found is not None:
                return [str(found)]
    recording = False
    ignored = ("__pycache__", "/dev/", "/proc/")
    return [
        f"{event} {path}"
        for event, path, changing in seen
        if changing and not any(part in path for part in ignored)
    ]


def links(stores: list[Path]) -> list[str]:
    """Use stores that have a link out of them; return what beside them was opened, listed or written."""
    global recording  # noqa: PLW0603
    from torture import uses

    import lamella

    def verifying(path: Path) -> None:
        _ = str(lamella.verify(path, jobs=1)), str(lamella.status(path))

    used = (
        uses.opening,
        uses.validating_pixels,
        uses.planning_repair,
        uses.summarizing,
        verifying,
        uses.growing,
    )
    problems = []
    for store in stores:
        seen.clear()
        recording = True
        problems += [str(found) for use in used if (found := uses.unclear_outcome(use, store)) is not None]
        recording = False
        for event, path, _ in seen:
            inside = path.startswith(str(store))
            # As for names: above a store lies perhaps the plate that a row belongs to.
            asked = os.path.basename(path) in ("zarr.json", ".zgroup", ".zarray", ".zattrs")
            if (
                not inside
                and path.startswith(str(store.parent.parent))
                and not (asked and Path(path).parent == store.parent)
            ):
                problems.append(f"{event} {path}")
            # A document that is a link is tried as what it is (O_NOFOLLOW), and no folder is made where a link is.
            refused = os.path.islink(path) and (asked or event == "os.mkdir")
            if inside and os.path.realpath(path) != path and not refused:
                problems.append(f"{event} {path}")
    return problems


if __name__ == "__main__":
    sys.addaudithook(hook)
    kind, *paths = sys.argv[1:]
    stores = [Path(path) for path in paths]
    found = names(stores[0]) if kind == "names" else {"reading": reading, "links": links}[kind](stores)
    print("FOUND", json.dumps(found))
    os._exit(0)
