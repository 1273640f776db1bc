"""What every other library is asked for, and what the answers look like: plain numpy, sizes by lower-case axis name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

AXES = "tczyx"
Pixels: TypeAlias = "np.ndarray[Any, Any]"
Scale: TypeAlias = dict[str, float]
Fields: TypeAlias = dict[str, Pixels]

CHANNELS = ["DAPI", "GFP"]
SCALE: Scale = {"t": 3.0, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.25}
CHUNKS = (1, 1, 4, 16, 16)
SHARDS = (1, 1, 8, 32, 32)


def random_pixels(shape: tuple[int, ...], seed: int) -> Pixels:
    """Noise, so that no two voxels can be taken for each other."""
    return np.random.default_rng(seed).integers(0, 60000, shape, dtype="uint16")


class CannotError(Exception):
    """The library has no part for this: the message says what was looked for in it and is not there."""


@dataclass(frozen=True)
class Form:
    """The version of a store, and whether it has shards."""

    version: str
    sharded: bool

    def __str__(self) -> str:
        """Name the form as the tables do."""
        return f"{self.version}, sharded" if self.sharded else self.version


@dataclass
class ReadImage:
    """What a library says about an image; an array without an image has no sizes."""

    levels: list[Pixels]
    scale: Scale | None


class Reader(ABC):
    """A library that reads what lamella writes."""

    name: str

    @abstractmethod
    def read_image(self, path: Path) -> ReadImage:
        """Every level of an image that the library finds by itself."""

    @abstractmethod
    def read_labels(self, path: Path, name: str) -> ReadImage:
        """Every level of a label image of an image."""

    @abstractmethod
    def read_plate(self, path: Path) -> Mapping[str, ReadImage]:
        """The fields, by 'row/column/field'."""


class Peer(Reader):
    """A library that also writes OME-Zarr images and plates."""

    label_scale: ClassVar[Scale] = {axis: SCALE[axis] for axis in "tzyx"}
    """Physical sizes that its label images state."""

    @abstractmethod
    def write_image(self, path: Path, pixels: Pixels, scale: Scale, form: Form) -> None:
        """An image of 5 axes, with the library's own lower levels."""

    @abstractmethod
    def write_labels(self, path: Path, pixels: Pixels, scale: Scale, labels: Pixels, form: Form) -> None:
        """An image with the label image "cells", tzyx."""

    def write_tiled(self, path: Path, pixels: Pixels, scale: Scale, form: Form) -> None:
        """An image of 2 x 2 tiles; said to be missing unless the library has something of that name."""
        module = import_module(self.name.replace("-", "_"))
        if not [part for part in dir(module) if "tile" in part.lower()]:
            raise CannotError(f"nothing in {module.__name__} has tile in its name")

    @abstractmethod
    def write_plate(self, path: Path, fields: Fields, form: Form) -> None:
        """A plate of fields by 'row/column/field'."""
