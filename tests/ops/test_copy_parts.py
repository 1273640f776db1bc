"""Law: a part of a store, copied from anywhere, has just the fields and levels that were asked for, and is valid."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import main


def pixels(seed):
    return np.random.default_rng(seed).integers(1, 999, (1, 2, 1, 16, 16)).astype("u2")


@pytest.fixture(scope="module", params=["0.5", "0.4"])
def made(request, tmp_path_factory):
    """A plate of three fields with levels, labels and a table, and the same in an archive; nobody changes them."""
    path = tmp_path_factory.mktemp("parts") / "screen.zarr"
    with lamella.open_ome_zarr(path, "hcs", "w", ["a", "b"], version=request.param) as plate:
        for seed, field in enumerate(("A/1/0", "A/1/1", "B/2/0")):
            position = plate.create_position(*field.split("/"))
            position.create_image("0", pixels(seed), chunks=(1, 1, 1, 8, 8))
            position.labels.create("cells", (pixels(seed)[:, 0] > 500).astype("u1"), colors={1: (9, 9, 9)})
            position.compute_pyramid(levels=3)
            position.tables.write("drugs", {"dose": [seed, 2.0]}, backend="csv")
    lamella.pack(path, path.with_suffix(".zip"))
    return path


@pytest.fixture(params=["folder", "s3", "web", "zip"])
def source(request, made, service):
    """The plate as it is reached in different ways; the web server cannot list."""
    if request.param in ("folder", "zip"):
        return str(made if request.param == "folder" else made.with_suffix(".zip"))
    service.put_folder(made, "/bucket/screen.zarr")
    return f"{service.endpoint if request.param == 'web' else 's3:/'}/bucket/screen.zarr"


def run(*arguments):
    """Copy with the command; exit code 1 says that a store could not be listed."""
    ran = CliRunner().invoke(main, [*map(str, arguments), "-j", "2"])
    lists = not str(arguments[1]).startswith("http")
    assert ran.exit_code == (0 if lists else 1), ran.output
    assert lists or "only what its metadata name" in ran.stderr


def check(image, expected, levels):
    """Check that an image has just these levels of another, which its labels have too, and its tables."""
    label, expected_label = image.labels["cells"], expected.labels["cells"]
    assert image.dataset_paths == label.dataset_paths == levels
    assert sorted(image.zgroup.array_keys()) == sorted(label.zgroup.array_keys()) == levels
    for level in levels:
        assert np.array_equal(image[level][...], expected[level][...])
        assert np.array_equal(label[level][...], expected_label[level][...])
        assert image.get_effective_scale(level) == expected.get_effective_scale(level)
    assert image.tables["drugs"].to_csv() == expected.tables["drugs"].to_csv()


@pytest.mark.parametrize(
    ("made", "source", "levels"),
    [
        ("0.4", "folder", ["1", "2"]),
        ("0.5", "s3", ["0"]),
        ("0.4", "web", ["0", "1"]),
        ("0.5", "web", ["0", "2"]),
        ("0.5", "zip", ["2"]),
    ],
    indirect=["made", "source"],
)
def test_a_part_is_all_that_was_asked_for_and_is_valid(made, source, tmp_path, levels):
    command, chosen = "download" if "://" in source else "copy", ("--levels", ",".join(levels))
    run(command, source, tmp_path / "part.zarr", "--fields", "A/1/1,B/2/0", *chosen)
    run(command, f"{source}/A/1", tmp_path / "well.zarr", "--fields", "1", *chosen)
    run(command, f"{source}/B/2/0", tmp_path / "image.zarr", *chosen)
    parts = [lamella.open_ome_zarr(tmp_path / f"{name}.zarr") for name in ("part", "well", "image")]
    assert parts[0].position_paths() == ["A/1/1", "B/2/0"]
    assert parts[0].well_paths() == ["A/1", "B/2"]
    assert list(parts[1]) == ["1"]
    with lamella.open_ome_zarr(made) as plate:
        check(parts[0]["A/1/1"], plate["A/1/1"], levels)
        check(parts[0]["B/2/0"], plate["B/2/0"], levels)
        check(parts[1]["1"], plate["A/1/1"], levels)
        check(parts[2], plate["B/2/0"], levels)
    assert not (tmp_path / "part.zarr" / "A" / "1" / "0").exists()
    for part in parts:
        report = lamella.validate(part, pixels=True)
        assert report.readable
        assert report.findings == (), list(map(str, report.findings))
