"""Scenario: documents, shard indexes and chunks made by coverage (atheris). Parsers end with a value or a clear error.

Needs atheris (``pip install --group torture``). Runs in its own process, because atheris ends it. Only parsers are
tested, without stores, engines and files.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def scenario(seed: int, seconds: float) -> dict[str, int]:
    """Run inputs for some time; return ``inputs``, and ``unclear`` with the input that failed."""
    if find_spec("atheris") is None:
        return {"left out, for atheris is not installed": 1}
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        _plant(corpus)
        limits = [
            f"-max_total_time={max(1, int(seconds))}",
            "-timeout=60",
            "-rss_limit_mb=4096",
            "-max_len=8192",
        ]
        options = [f"-seed={seed % (1 << 31) or 1}", f"-artifact_prefix={folder}/", *limits]
        command = [sys.executable, "-m", "torture.guided", str(corpus), *options]
        process = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        done = re.findall(r"(?:Done (\d+) runs|^#(\d+)\s)", process.stderr, re.MULTILINE)
        counts = {"inputs": int(max((int(a or b) for a, b in done), default=0))}
        if process.returncode:
            inputs = [path.read_bytes() for path in Path(folder).iterdir() if path.is_file()]
            counts["unclear"] = 1
            counts[f"{process.stderr[-1500:]} {inputs[:1]} (seed {seed})"] = 1
        return counts


def _plant(corpus: Path) -> None:
    """Write documents, chunks and shards of all specimens as first inputs."""
    from torture.specimens import is_document, names, specimen

    for number, name in enumerate(names()):
        for file_number, (key, data) in enumerate(specimen(name).items()):
            kinds = (0, 1, 2) if is_document(key) else (3, 4)
            for kind in kinds:
                (corpus / f"{number}-{file_number}-{kind}").write_bytes(bytes([kind]) + data)


def fuzz() -> None:
    """Run atheris in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=["lamella.spec", "lamella.store"]):
        from lamella.errors import LamellaError
        from lamella.spec.rules import check_attributes
        from lamella.spec.versions import detect
        from lamella.store.metadata import format_v2, format_v3
        from lamella.store.metadata.array_creation import new_array
        from lamella.store.metadata.json_document import parse_object
        from lamella.store.pixels.coding import ChunkError, coding_of
        from lamella.store.pixels.shard_file import IndexLayout, decode_index

    plain = new_array((8, 8), "uint16", chunks=(8, 8), zarr_format=3)
    sharded = new_array((8, 8), "uint16", chunks=(4, 4), shards=(8, 8), zarr_format=3)
    decoder, form = coding_of(plain), IndexLayout.of(sharded)
    assert decoder is not None
    assert form is not None

    def array_of_v2(data: bytes) -> None:
        format_v2.parse_array(parse_object(data, "0", ".zarray"), {}, "0")

    def array_of_v3(data: bytes) -> None:
        format_v3.parse_array(parse_object(data, "0", "zarr.json"), "0")

    def group(data: bytes) -> None:
        document = parse_object(data, "A/1", "zarr.json")
        for attributes in (document, document.get("attributes")):
            if isinstance(attributes, dict):
                _attributes(attributes)

    def _attributes(attributes: dict[str, Any]) -> None:
        for version, zarr_format in (("0.4", 2), ("0.5", 3), ("0.6", 3)):
            for kind in ("image", "label", "plate", "well"):
                check_attributes(kind, attributes, version)  # type: ignore[arg-type]
            detect(zarr_format, attributes)

    def index(data: bytes) -> None:
        decode_index(data[: form.size].ljust(form.size, b"\0") if len(data) % 3 else data, form, "c/0/0")

    def chunk(data: bytes) -> None:
        decoder.decode(data, decoder.scratch())

    targets = (array_of_v2, array_of_v3, group, chunk, index)

    def run_input(data: bytes) -> None:
        if not data:
            return
        with suppress(LamellaError, ChunkError):
            targets[data[0] % len(targets)](data[1:])

    atheris.Setup(sys.argv, run_input)
    atheris.Fuzz()


if __name__ == "__main__":
    fuzz()
