"""What the tests of interrupted verifications share: a plate, and the three works with what they have read."""

from __future__ import annotations

import numpy as np
import pytest

import lamella
from lamella.ops.integrity import checksum as sums
from lamella.ops.integrity import verify as verification


class CutError(Exception):
    """The work ends here."""


def make(target, version="0.5"):
    layout = {} if version == "0.4" else {"shards_ratio": (1, 1, 1, 2, 2)}
    noise = np.random.default_rng(0).integers(0, 9999, (1, 2, 1, 16, 16), dtype="uint16")
    with lamella.open_ome_zarr(
        target, layout="hcs", mode="w", channel_names=["a", "b"], version=version
    ) as plate:
        for row in "ABC":
            plate.create_position(row, "1", "0").create_image("0", noise, chunks=(1, 1, 1, 8, 8), **layout)
    return target


def files_of(path):
    return {
        str(f.relative_to(path)): (f.read_bytes(), f.stat().st_mtime_ns)
        for f in path.rglob("*")
        if f.is_file()
    }


def pixel_files(path):
    return [key for key in sorted(files_of(path)) if key.rpartition("/")[2].isdecimal()]


class Work:
    """One of the three, with what it has read."""

    def __init__(self, name, folder, monkeypatch):
        self.name, self.folder, self.read, self.left = name, folder, [], None
        self.record = folder / ("sums.record" if name == "checksum" else "found")
        decode, add_up = verification.decode, sums._compute_digest

        def note(key, done, *given):
            if self.left is not None and not self.left:
                raise CutError
            self.left = None if self.left is None else self.left - 1
            self.read.append(key)
            return done(*given)

        monkeypatch.setattr(verification, "decode", lambda file: note(file.key, decode, file))
        monkeypatch.setattr(sums, "_compute_digest", lambda file: note(file.key, add_up, file))

    def keys(self, path):
        return pixel_files(path) if self.name == "verify" else sorted(files_of(path))

    def arguments(self):
        if self.name == "checksum":
            return (self.folder / "sums",), {}
        given = {"manifest": self.folder / "manifest"} if self.name == "manifest" else {}
        return (), {"record": self.record, **given}

    def __call__(self, path, **options):
        given, named = self.arguments()
        call = lamella.checksum if self.name == "checksum" else lamella.verify
        return call(path, *given, **named, **{"jobs": 1, **options})

    def code(self, path):
        given, named = self.arguments()
        call = "checksum" if self.name == "checksum" else "verify"
        text = "".join(f", {str(one)!r}" for one in given)
        text += "".join(f", {name}={str(value)!r}" for name, value in named.items())
        return f"lamella.{call}({str(path)!r}{text}, jobs=1)"

    def cut(self, path, after, **options):
        """End it after some files."""
        self.read.clear()
        self.left = after
        with pytest.raises(CutError):
            self(path, **options)
        self.left = None
        done = self.read[:after]
        self.read.clear()
        return done

    def ended(self, path, found):
        """What it found is what an uninterrupted call finds, and no record stays."""
        assert not self.record.exists()
        if self.name == "checksum":
            assert found == lamella.checksum(path)
            wanted = self.folder / "wanted"
            sums.write_manifest(found, wanted)
            assert (self.folder / "sums").read_bytes() == wanted.read_bytes()
        else:
            _, named = self.arguments()
            assert found == lamella.verify(path, manifest=named.get("manifest"))
