"""Law: a channel whose append was cut short leaves as many names as channels, and the next writer finishes it."""

from __future__ import annotations

import shutil
from contextlib import suppress

import pytest

import lamella
from lamella.errors import InvalidArgumentError

from .faults import Faults
from .states import files
from .works import WORKS

APPEND = WORKS["append a channel"]


class CutShortError(BaseException):
    """Stands for the death of the process: no later step is made either."""


def cut(_):
    raise CutShortError


def states(folder, version):
    """Make copies of a plate in which the call came to each of its steps, and no further."""
    template = folder / "template"
    template.mkdir()
    APPEND.prepare(template, version)
    for n in range(1, 200):
        made = folder / str(n)
        shutil.copytree(template, made)
        with Faults(made, n, cut, lasting=True) as faults, suppress(CutShortError):
            APPEND.run(made, version, print)
        yield made
        if not faults.acted:
            return


WRITERS = {
    "the same": lambda position: position.append_channel("new"),
    "another channel": lambda position: position.append_channel("more"),
    "a rename": lambda position: position.rename_channel("GFP", "Actin"),
    "a scale": lambda position: position.set_scale("0", "x", 0.5),
    "metadata": lambda position: position.dump_meta(),
}


@pytest.mark.parametrize(
    ("version", "write"),
    [("0.4", "the same"), ("0.5", "the same"), *zip(("0.4", "0.5") * 2, list(WRITERS)[1:], strict=True)],
)
def test_a_channel_cut_short_is_named_for_every_reader_and_finished_by_the_next_writer(
    version, write, tmp_path
):
    seen, known = set(), None
    for n, folder in enumerate(states(tmp_path, version)):
        store = folder / "plate.zarr"
        reader = lamella.open_ome_zarr(store)
        position = dict(reader.positions())["A/1/1"]
        names = position.channel_names
        seen.add(len(names))
        assert len(names) == position.data.shape[1]
        assert [channel.label for channel in position.metadata.omero.channels] == names
        assert names == ["DAPI", "GFP", "new"][: len(names)]
        assert not position.data[:, 2:].any()
        assert len(reader.table()) == 3
        if n % 3 and write != "the same":
            continue
        with lamella.open_ome_zarr(store / "A/1/1", mode="r+") as position:
            with suppress(InvalidArgumentError):  # the channel is there
                WRITERS[write](position)
            names = position.channel_names
            assert {image.shape[1] for _, image in position.images()} == {len(names)}
        found = files(folder)
        assert not any(b"appending_channel" in data for data in found.values())
        found = {key: data for key, data in found.items() if not key.endswith((".tmp", ".lock"))}
        if write == "the same":
            known = found if known is None else known
            assert found == known
    assert seen == {2, 3}
