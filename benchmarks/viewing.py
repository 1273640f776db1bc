"""Measure the viewer in Chromium: requests and time until all fields are drawn, time per frame, memory of the server.

    python benchmarks/viewing.py [--wells 96x4,384x9] [--remote 96x4,384x9] [--folder DIR] [--page docs/view.md]

Each run starts `lamella view` in a process of its own and a browser with software rendering, with WebGL 2 or without.
Time counts from the start of the command until the last tile of the whole plate is on the screen. The plates have two
channels of 256 x 256 pixels and two lower levels per field. Every run must draw the pixels that the first one drew.
A store at a URL is served by `object_service`, which runs on the same cores. Printed are its processor time, that of
the server and of the browser until all is drawn, and the idle time of all cores together. `make test-browser` installs
Chromium. The table is printed, and with ``--page`` written into that page, between its markers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

from browser import Browser  # noqa: E402
from object_service import Running, object_service  # noqa: E402
from report import machine, markdown, write_block  # noqa: E402

SIDE, LATENCY = 256, 0.02

FRAMES = """(async (change, count) => {
  const { state } = lamella;
  const start = await new Promise(requestAnimationFrame);
  let end = start;
  for (let frame = 0; frame < count; frame++) {
    if (change === "moving") state.camera.x += 2 / state.camera.zoom;
    else state.channels[0].window = [0, state.channels[0].window[1] + 1];
    lamella.draw();
    end = await new Promise(requestAnimationFrame);
  }
  return (end - start) / count;
})"""
"""Returns the mean milliseconds between frames, each of which moves the picture or changes a contrast."""

DRAWN = """(() => {
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  return {
    fields: lamella.scene.fields.length,
    damaged: lamella.damaged.size + lamella.pixels.refused.size,
    tiles: [...lamella.pixels.kept.values()].map((tile) => [tile.key, sum(tile.planes), sum(tile.mask)]).sort(),
  };
})()"""
"""Returns the number of fields of the plate, that of damaged ones, and the sums of all pixels of each drawn tile."""


def frame(browser: Browser, change: str) -> float:
    """Return the mean milliseconds of 40 frames, after some that are not counted."""
    browser.run(f"{FRAMES}('{change}', 5)")
    return browser.run(f"{FRAMES}('{change}', 40)")


def make_plate(path: Path, wells: int, fields: int) -> None:
    """Write a plate with ``wells`` wells, in rows of 12 or 24, unless it is there."""
    import lamella

    if path.exists():
        return
    columns = 24 if wells > 96 else 12
    rng = np.random.default_rng(0)
    pixels = rng.poisson(120, (1, 2, 1, SIDE, SIDE)).astype("uint16")
    names = [(chr(65 + well // columns), str(well % columns + 1)) for well in range(wells)]
    specs = [(*name, str(field)) for name in names for field in range(fields)]
    with lamella.open_ome_zarr(
        path, layout="hcs", mode="w", channel_names=["DAPI", "GFP"], version="0.5"
    ) as plate:
        for number, position in enumerate(plate.create_positions(specs)):
            position["0"] = pixels + np.uint16(number % 50)
            position.compute_pyramid(levels=3)


@contextmanager
def server(target: str) -> Iterator[tuple[str, int, float]]:
    """Run ``lamella view``; yield its URL, its process id and the time of its start."""
    started = time.perf_counter()
    command = [sys.executable, "-c", "from lamella.cli import main; main()", "view", target, "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process.pid, started
        finally:
            process.terminate()
            process.stdout.read()


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process until now."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processor_seconds_of_all(pid: int) -> float:
    """Return the processor time of a process and of all processes below it that run."""
    above: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            above[int(file.parent.name)] = int(file.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    members = [pid]
    for parent in members:
        members += [child for child, its_parent in above.items() if its_parent == parent]
    return sum(processor_seconds(member) for member in members)


def idle_seconds() -> float:
    """Return the time until now in which cores had nothing to do, of all cores together."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def peak_memory(pid: int) -> float:
    """Return the largest resident size of a process, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def measure(target: str, *, webgl: bool, walk: bool) -> dict[str, Any]:
    """Open a plate, and return the figures; ``walk`` zooms to each of its wells."""
    browser = Browser(webgl=webgl)
    try:
        before, idle_before = processor_seconds_of_all(browser.pid), idle_seconds()
        with server(target) as (url, pid, started):
            opened = time.perf_counter()
            browser.open(url)
            drawn = time.perf_counter()
            idle = idle_seconds() - idle_before
            seconds = processor_seconds(pid)
            browser_seconds = processor_seconds_of_all(browser.pid) - before
            screen = browser.run(DRAWN)
            scene_requests = [
                request for request in browser.requests() if "/tile/" in request or ".json" in request
            ]
            pan, contrast = frame(browser, "moving"), frame(browser, "contrast")
            wells = browser.run("lamella.scene.wells.length") if walk else 0
            for well in range(wells):
                browser.run(f"lamella.act.toWell({well})")
                browser.drawn()
            return {
                "requests": len(scene_requests),
                "opened": opened - started,
                "drawn": drawn - started,
                "pan": pan,
                "contrast": contrast,
                "memory": peak_memory(pid),
                "processor": seconds,
                "browser": browser_seconds,
                "idle": idle,
                "screen": screen,
            }
    finally:
        browser.close()


def drop_page_cache() -> bool:
    """Forget all files that the system keeps in memory, where that is allowed."""
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
    except OSError:
        return False
    return True


@contextmanager
def slow_store(plate: Path) -> Iterator[tuple[str, Running]]:
    """Serve a plate from a store on loopback that answers each request after 20 ms; yield its URL and the service."""
    from tests.remote import KEYS

    with object_service(plate, LATENCY) as service:
        os.environ |= {**KEYS, "AWS_ENDPOINT_URL": service.endpoint}
        yield f"s3://bucket/{plate.name}", service


def check_screen(figures: dict[str, Any], fields: int, expected: dict[str, Any]) -> None:
    """Raise if a run did not draw all fields, or drew other pixels than expected."""
    screen = figures.pop("screen")
    if screen["fields"] != fields or screen["damaged"] or screen != expected:
        raise SystemExit(f"Other pixels than those of the plate were drawn: {screen}, expected {expected}")


BOUNDS = {
    ("96x4", "disk, in the page cache"): "1 s",
    ("384x9", "disk, in the page cache"): "4 s",
    ("384x9", "disk, nothing cached"): "6 s",
}
"""The longest time until all is drawn that lamella allows itself, by the size of the plate and the store."""


def row(size: str, store: str, figures: dict[str, Any]) -> list[str]:
    """Print a line of the table, and return it."""
    wells, fields = size.split("x")
    plate = f"{wells} wells x {fields} fields"
    print(plate, store, figures, flush=True)
    return [
        plate,
        store,
        str(figures["requests"]),
        f"{figures['drawn']:.1f} s",
        BOUNDS.get((size, store), ""),
        f"{figures['pan']:.0f} ms",
        f"{figures['contrast']:.0f} ms",
        f"{figures['memory']:.0f} MiB",
    ]


def rows_of(plate: Path, size: str, *, disk: bool, remote: bool) -> list[list[str]]:
    """Measure a plate, such as ``96x4``, on the disk and at a URL; return the lines of the table."""
    wells, fields = map(int, size.split("x"))
    make_plate(plate, wells, fields)
    first = measure(str(plate), webgl=True, walk=False)  # documents are in the page cache from here

    def run(store: str, target: str, *, webgl: bool = True, walk: bool = False) -> list[str]:
        figures = measure(target, webgl=webgl, walk=walk)
        check_screen(figures, wells * fields, first["screen"])
        return row(size, store, figures)

    rows = []
    if disk:
        rows.append(run("disk, in the page cache", str(plate), walk=True))
        rows.append(run("disk, in the page cache, without WebGL", str(plate), webgl=False))
        if drop_page_cache():
            rows.append(run("disk, nothing cached", str(plate)))
    if remote:
        with slow_store(plate) as (url, service):
            rows.append(run("service, 20 ms a request", url))
        each = 1000 * service.seconds / service.requests
        print(
            f"The service answered {service.requests} requests, for {each:.3f} ms of a core each", flush=True
        )
    return rows


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wells", default="96x4,384x9", help="plates measured on the disk, or none")
    parser.add_argument("--remote", default="96x4,384x9", help="plates measured at a URL, or none")
    parser.add_argument("--folder", type=Path, help="where plates are written and kept")
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    disk, remote = ([s for s in sizes.split(",") if s != "none"] for sizes in (args.wells, args.remote))
    rows: list[list[str]] = []
    with nullcontext(str(args.folder)) if args.folder else tempfile.TemporaryDirectory() as folder:
        for size in dict.fromkeys([*disk, *remote]):
            plate = Path(folder) / f"plate_{size}.zarr"
            rows += rows_of(plate, size, disk=size in disk, remote=size in remote)
    head = [
        "plate",
        "store",
        "requests",
        "all drawn",
        "bound",
        "frame, moving",
        "frame, contrast",
        "server's memory",
    ]
    load = f"{os.getloadavg()[0]:.1f} processes wanted a core on average"
    text = f"{markdown(head, rows)}\n\nOn {machine()}; {load}."
    print(text)
    if args.page is not None:
        write_block("viewing", text, args.page)


if __name__ == "__main__":
    main()
