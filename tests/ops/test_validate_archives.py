"""Law: what RFC-9 asks of an archive is checked, by name of the rule, and `pack` writes what it asks for."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

import lamella


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """An archive with nothing to find beside what its image has, and the rules that this breaks."""
    folder = tmp_path_factory.mktemp("packed")
    with lamella.open_ome_zarr(
        folder / "a.zarr",
        layout="fov",
        mode="w",
        channel_names=["a"],
        version="0.5",
        axes=lamella.models.axes("czyx"),
    ) as position:
        position.create_zeros("0", (1, 2, 8, 8), "u1", chunks=(1, 1, 8, 8), shards_ratio=(1, 2, 1, 1))[
            ...
        ] = 1
        position.compute_pyramid(levels=2)
    lamella.pack(folder / "a.zarr", folder / "a.ozx")
    return folder / "a.ozx"


def rewritten(source, target, *, order=None, folder="", method=zipfile.ZIP_STORED, comment=None, more=()):
    """Write the files of an archive into another one, in other order or form."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        names = sorted(old.namelist(), key=order) if order else old.namelist()
        for name in names:
            new.writestr(folder + name, old.read(name))
        for name, data in more:
            new.writestr(name, data)
        new.comment = old.comment if comment is None else comment
    return lamella.validate(target)


def test_each_rule_of_the_rfc_is_found_and_no_other(packed, tmp_path):
    clean = lamella.validate(packed)
    assert not [rule for rule in clean.rules if "LM-15" <= rule <= "LM-20"]
    broken = {
        "LM-15": {"folder": "a.zarr/"},
        "LM-16": {},
        "LM-17": {"method": zipfile.ZIP_DEFLATED},
        "LM-18": {"order": lambda name: name.endswith("zarr.json")},
        "LM-19": {"comment": b'{"ome": {"version": "0.4"}}'},
    }
    for rule, change in broken.items():
        target = tmp_path / ("a.zip" if rule == "LM-16" else "a.ozx")
        found = rewritten(packed, target, **change)
        # zipfile does not write the end of ZIP64 where it need not, which is LM-17.
        assert set(found.rules) - set(clean.rules) == {rule, "LM-17"}, found
        assert found.valid == (rule != "LM-15")
        target.unlink()
    found = rewritten(packed, tmp_path / "a.ozx", comment=b"of ours", more=[("b.ozx", b"PK")])
    assert set(found.rules) - set(clean.rules) == {"LM-15", "LM-17", "LM-19"}
    found = rewritten(packed, tmp_path / "a.zip", comment=b"", folder="a.zarr/")
    assert found.valid  # a ZIP archive that does not claim to be more
    assert "LM-15" in found.rules


def test_arrays_of_many_chunks_should_have_shards_and_zarr_v2_is_for_zip(tmp_path):
    for version, rule in (("0.5", "LM-20"), ("0.4", "LM-15")):
        with lamella.open_ome_zarr(
            tmp_path / f"{version}.zarr", layout="fov", mode="w", channel_names=["a"], version=version
        ) as position:
            position.create_zeros("0", (1, 1, 4, 8, 8), "u1", chunks=(1, 1, 1, 8, 8))[...] = np.uint8(1)
        lamella.pack(tmp_path / f"{version}.zarr", tmp_path / f"{version}.zip")
        found = lamella.validate(tmp_path / f"{version}.zip")
        assert found.valid
        assert {"LM-16", "LM-20", rule} <= set(found.rules)
        assert not {"LM-17", "LM-18", "LM-19"} & set(found.rules)
    with lamella.open_ome_zarr(tmp_path / "0.5.zip") as position:
        assert "LM-20" in lamella.validate(position).rules
