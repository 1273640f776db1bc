"""One law over many edits: metadata, tree and pixels agree, and every store is valid, whatever the order."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lamella import open_ome_zarr
from lamella.models import TransformationMeta, axes

from .conftest import AXES, SHAPES, attributes, channels, check_valid

FACTORS = st.sampled_from([0.25, 0.5, 1.0, 2.0, 6.5])
NAMES = st.sampled_from(["a", "b", "c"])


class Edits(RuleBasedStateMachine):
    """A position beside a plain model of what it must hold."""

    folder: Any

    @initialize(names=st.sampled_from(AXES), version=st.sampled_from(["0.4", "0.5"]))
    def create(self, names: str, version: str) -> None:
        self.names, self.version = names, version
        self.path = self.folder.mktemp("law") / "a.zarr"
        self.channels = channels(names)
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.position = open_ome_zarr(
            self.path, layout="fov", mode="w", channel_names=self.channels, axes=axes(names), version=version
        )
        self.position.zattrs["lab"] = {"room": 5}
        self.whole = self.sizes(0)

    def sizes(self, level: int, factor: float = 1.0) -> list[float]:
        return [1.0 if name == "c" else factor * 2.0**level for name in self.names]

    @precondition(lambda self: len(self.arrays) < 3)
    @rule()
    def append_level(self) -> None:
        name = str(max((int(name) for name in self.arrays), default=-1) + 1)
        lengths = {**SHAPES, "c": len(self.channels)}
        data = np.full([lengths[axis] for axis in self.names], int(name) + 1, "uint8")
        # A level is twice as coarse as the coarsest there is, along every axis of space and time.
        base = self.position.get_effective_scale(self.coarsest()) if self.arrays else self.sizes(-1)
        fov = self.position.get_effective_scale("*")
        scale = [
            1.0 if axis == "c" else 2 * size / whole
            for axis, size, whole in zip(self.names, base, fov, strict=True)
        ]
        self.position.create_image(name, data, transform=[TransformationMeta(type="scale", scale=scale)])
        self.arrays[name] = data

    def coarsest(self) -> str:
        return self.position.dataset_paths[-1]

    @precondition(lambda self: self.arrays)
    @rule(data=st.data())
    def delete(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.arrays)))
        del self.position[name]
        del self.arrays[name]

    @precondition(lambda self: "c" in self.names and len(self.channels) < 5)
    @rule(name=NAMES)
    def append_channel(self, name: str) -> None:
        if name in self.channels:
            return
        self.position.append_channel(name)
        self.channels = [*self.channels, name]
        axis = self.names.index("c")
        for key, pixels in self.arrays.items():
            blank = np.zeros_like(np.take(pixels, [0], axis))
            self.arrays[key] = np.concatenate([pixels, blank], axis)

    @precondition(lambda self: "c" in self.names)
    @rule(place=st.integers(0, 1), name=NAMES)
    def rename_channel(self, place: int, name: str) -> None:
        if name in self.channels:
            return
        self.position.rename_channel(self.channels[place], name)
        self.channels = [name if i == place else old for i, old in enumerate(self.channels)]

    @precondition(lambda self: self.arrays)
    @rule(data=st.data(), factor=FACTORS)
    def set_scale(self, data: Any, factor: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.arrays)))
        self.position.set_scale(name, "Y", factor)
        assert np.isclose(
            self.position.get_effective_scale(name)[-2], factor * self.position.get_effective_scale("*")[-2]
        )

    @rule(factor=FACTORS)
    def set_transform_of_all(self, factor: float) -> None:
        self.position.set_transform("*", [TransformationMeta(type="scale", scale=self.sizes(0, factor))])
        self.whole = self.sizes(0, factor)

    @rule()
    def open_again(self) -> None:
        self.position.close()
        self.position = open_ome_zarr(self.path, mode="r+")

    @invariant()
    def everything_agrees(self) -> None:
        position = self.position
        assert position.channel_names == self.channels
        assert (
            sorted(position.dataset_paths) == list(position) == position.array_keys() == sorted(self.arrays)
        )
        for name, expected in self.arrays.items():
            np.testing.assert_array_equal(position[name][:], expected)
        sizes = [np.prod(position.get_effective_scale(path)) for path in position.dataset_paths]
        assert sizes == sorted(sizes)
        assert position.get_effective_scale("*") == self.whole
        assert attributes(self.path, self.version)["lab"] == {"room": 5}

    def teardown(self) -> None:
        if self.arrays:
            check_valid(self.path, self.version)


def test_any_sequence_of_edits_keeps_a_valid_image(tmp_path_factory):
    Edits.folder = tmp_path_factory
    run_state_machine_as_test(
        Edits, settings=settings(max_examples=15, stateful_step_count=10, deadline=None)
    )
