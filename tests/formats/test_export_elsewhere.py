"""Exported files are read by the programs that they are for: movies by ffmpeg, OME-TIFF by bioio."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.formats.conftest import ALL_INSTALLED

import lamella
from lamella.adapters.export import pictures
from lamella.models import TransformationMeta

if TYPE_CHECKING:
    from pathlib import Path


def need(module: str) -> None:
    """Skip without a library; fail where every library is installed."""
    if find_spec(module) is None:
        (pytest.fail if ALL_INSTALLED else pytest.skip)(f"needs {module}: make test-formats")


@pytest.fixture
def film(tmp_path: Path) -> lamella.Position:
    """A square that moves over a noisy ground: TCYX of odd lengths, 2 channels, 6 frames."""
    pixels = np.random.default_rng(0).integers(0, 300, (6, 2, 91, 121)).astype("uint16")
    for t in range(6):
        pixels[t, 0, 10 : 40 + t, 15 * t : 15 * t + 30] = 3000
        pixels[t, 1, 50:80, 90 - 15 * t : 120 - 15 * t] = 2000
    image: lamella.Position = lamella.write_image(
        tmp_path / "film.zarr", pixels, "tcyx", channels={"DAPI": "0000FF", "GFP": "00FF00"}
    )
    return image


@pytest.fixture
def ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ffmpeg of imageio-ffmpeg, under its usual name on the PATH."""
    need("imageio_ffmpeg")
    import imageio_ffmpeg

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")


def test_ffmpeg_reads_every_frame_of_a_movie(film: lamella.Position, tmp_path: Path, ffmpeg: None) -> None:
    pillow = pytest.importorskip("PIL.Image")
    seen: list[tuple[float, int, str]] = []
    lamella.export(film, tmp_path / "film.mp4", progress=lambda *step: seen.append(step))
    assert seen[-1] == (6, 6, "frames")
    command = ["ffmpeg", "-i", str(tmp_path / "film.mp4"), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    decoded = subprocess.run(command, capture_output=True, check=True)
    assert re.search(rb"Video: h264 .* 120x90.* 10 fps", decoded.stderr), decoded.stderr
    movie = np.frombuffer(decoded.stdout, np.uint8).reshape(-1, 90, 120, 3).astype(int)
    assert len(movie) == 6
    for t, frame in enumerate(movie):
        (still,) = lamella.export(film, tmp_path / f"{t}.png", t=t)
        with pillow.open(still) as picture:
            expected = np.asarray(picture)[:90, :120].astype(int)
        assert np.abs(frame - expected).mean() < 12, "H.264 is lossy, and has half the resolution of colours"


def test_a_movie_that_is_interrupted_leaves_nothing(
    film: lamella.Position, tmp_path: Path, ffmpeg: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, calls = pictures.field_picture, iter(range(6))

    def stopping(*arguments: object) -> object:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return picture(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pictures, "field_picture", stopping)
    with pytest.raises(KeyboardInterrupt):
        lamella.export(film, tmp_path / "film.mp4")
    monkeypatch.undo()
    assert not (tmp_path / "film.mp4").exists()
    assert not list(tmp_path.glob(".lamella-*.tmp"))


@pytest.mark.filterwarnings("ignore")  # of its libraries
def test_bioio_reads_pixels_names_and_sizes_of_an_ome_tiff(tmp_path: Path) -> None:
    need("bioio")
    need("bioio_ome_tiff")
    from bioio import BioImage
    from bioio_ome_tiff import Reader

    image = lamella.open(tmp_path / "a.zarr", "w", layout="fov", channel_names=["DAPI", "Alexa 488/x"])
    pixels = np.random.default_rng(1).integers(0, 60000, (2, 2, 3, 70, 90)).astype("uint16")
    scale = [TransformationMeta(type="scale", scale=[5, 1, 2, 0.5, 0.25])]
    image.create_image("0", pixels, transform=scale)
    image.set_unit({"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"})
    image.compute_pyramid(2)
    image.labels["nuclei"] = (pixels[:, 0] > 30000).astype("uint8")
    files = lamella.export(image, tmp_path / "a.ome.tif", labels=True)
    read = BioImage(files[0], reader=Reader)
    np.testing.assert_array_equal(read.data, pixels)
    assert read.channel_names == ["DAPI", "Alexa 488/x"]
    assert tuple(read.physical_pixel_sizes) == (2, 0.5, 0.25)
    assert read.metadata.images[0].pixels.time_increment == 5
    labels = BioImage(files[1], reader=Reader)
    np.testing.assert_array_equal(labels.data[:, 0], image.labels["nuclei"]["0"][...])
    assert tuple(labels.physical_pixel_sizes) == (2, 0.5, 0.25)
