"""Format the measurements of bench.py as a table with targets, and write blocks of docs/benchmarks.md.

The other scripts (scaling.py, training.py) also write their blocks with `write_block`.
"""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"

Results = dict[str, dict[str, list[dict[str, Any]]]]
"""Figures of each round, by workload and library."""


@dataclass(frozen=True)
class Target:
    """The target of a workload: its wall time as a multiple of the floor's, and the maximum of another figure."""

    ratio: float | None
    figure: str = ""
    limit: float = 0.0


FRAMES = ("worst_of_median", 3.0)
TARGETS = {
    "import_time": Target(1.8),
    "first_open": Target(None),
    "plate_create": Target(3.5),
    "plate_create_04": Target(4.5),
    "plate_create_bulk": Target(1.5),
    "plate_create_bulk_04": Target(1.5),
    "plate_walk": Target(4.0),
    "open_fov": Target(None, "documents", 3),
    "write_image": Target(0.9),
    "write_sharded": Target(0.9),
    "read_image": Target(1.0),
    "read_sharded": Target(1.0),
    "crops": Target(1.0),
    "crops4": Target(1.0),
    "read_many": Target(0.8),
    "pyramid": Target(1.15),
    "pyramid_median": Target(1.5),
    "pyramid_mode": Target(1.5),
    "stream": Target(1.1, *FRAMES),
    "stream_files": Target(1.1, *FRAMES),
    "stream_shards": Target(1.1, *FRAMES),
    "copy_plate": Target(1.5),
    "convert_raw": Target(1.3),
    "convert_zlib": Target(1.3),
}
NAMES = {"documents": "documents read", "worst_of_median": "slowest frame / median frame"}


def machine() -> str:
    """Describe this machine."""
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def median(results: list[dict[str, Any]], key: str) -> float | None:
    """Return the median of a measurement; None if no run succeeded."""
    values = [result[key] for result in results if key in result]
    return statistics.median(values) if values else None


def ratio(measured: dict[str, list[dict[str, Any]]], name: str, key: str = "seconds") -> float | None:
    """Return the median of a library divided by the median of the floor."""
    own, floor = median(measured.get(name, []), key), median(measured["floor"], key)
    return own / floor if own is not None and floor else None


def missed(workload: str, measured: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the targets that lamella misses, and its failures."""
    target, lamella_ratio = TARGETS[workload], ratio(measured, "lamella")
    if lamella_ratio is None:
        return [
            next(
                (
                    result["error"]
                    for library in ("lamella", "floor")
                    for result in measured[library]
                    if "error" in result
                ),
                "failed",
            )
        ]
    reasons = []
    if target.ratio and lamella_ratio > target.ratio:
        reasons.append(f"{lamella_ratio:.2f} times the floor, aimed at {target.ratio}")
    if target.figure and (figure := median(measured["lamella"], target.figure) or 0) > target.limit:
        reasons.append(f"{NAMES[target.figure]}: {figure:.2g}, aimed at {target.limit:g}")
    return reasons


def table(results: Results, peers: list[str]) -> str:
    """Return a table of medians, ratios and targets."""
    head = ["workload", "floor", "lamella", "/ floor", "target", "met", "processor / floor", "peak memory"]
    rows = []
    for workload, measured in results.items():
        target, lamella_ratio = TARGETS[workload], ratio(measured, "lamella")
        peak = (
            median(measured["lamella"], "peak_mb") if workload not in {"import_time", "first_open"} else None
        )
        row = [workload, *(_time(median(measured[name], "seconds")) for name in ("floor", "lamella"))]
        row += [
            _number(lamella_ratio),
            f"<= {target.ratio}" if target.ratio else "",
            _verdict(missed(workload, measured)),
        ]
        row += [_number(ratio(measured, "lamella", "cpu")), f"{peak:.0f} MB" if peak is not None else ""]
        row += [_peer(measured, peer) for peer in peers]
        rows.append(row)
    return markdown([*head, *(f"{peer} / floor" for peer in peers)], rows)


def figures(results: Results, peers: list[str]) -> str:
    """Return a table of figures besides time: documents read, and the slowest frame of a stream."""
    names = ["floor", "lamella", *peers]
    rows = []
    for workload, measured in results.items():
        if figure := TARGETS[workload].figure:
            cells = [_number(median(measured.get(name, []), figure)) for name in names]
            rows.append([f"{workload}: {NAMES[figure]}", *cells, f"<= {TARGETS[workload].limit:g}"])
    return markdown(["figure", *names, "target"], rows) if rows else ""


def _time(value: float | None) -> str:
    if value is None:
        return "failed"
    return f"{value:.3f} s" if value >= 0.01 else f"{value * 1e3:.3f} ms"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _verdict(reasons: list[str]) -> str:
    return "no" if reasons else "yes"


def _peer(measured: dict[str, list[dict[str, Any]]], peer: str) -> str:
    peer_ratio = ratio(measured, peer)
    return _number(peer_ratio) if peer_ratio is not None else "fails" if measured.get(peer) else ""


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; all columns but the first are numbers."""
    all_rows = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    widths = [max(len(row[column]) for row in all_rows) for column in range(len(head))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in all_rows
    )


def write_block(name: str, text: str, page: Path = DOCUMENT) -> None:
    """Replace the text between the markers of a block of a page, by default docs/benchmarks.md."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, marker, after_begin = page.read_text(encoding="utf-8").partition(begin)
    _, end_marker, after = after_begin.partition(end)
    if not (marker and end_marker):
        raise SystemExit(f"{page} has no block {name}: put {begin} and {end} where it belongs")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
