"""The arguments of `open_ome_zarr`, and the checks of them that need no store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from inspect import signature
from typing import TYPE_CHECKING, Any, get_args

from lamella.arguments import check_flags, items_of, whole_number
from lamella.errors import InvalidArgumentError, check_options
from lamella.nodes.open import open_ome_zarr
from lamella.spec.axes import AxisMeta, axes_from, channel_axis, default_axes
from lamella.types import Durability, Layout, Mode, Recheck

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lamella.nodes.node import NGFFNode
    from lamella.types import VersionName


@dataclass(frozen=True)
class OpenRequest:
    """How a store is opened or created: the arguments of `open_ome_zarr` except the path."""

    layout: Layout = "auto"
    mode: Mode = "r"
    channel_names: Sequence[str] | None = None
    axes: Any = None
    version: VersionName = "0.4"
    disable_path_checking: bool = False
    durability: Durability = "process"
    strict: bool = False
    cache_bytes: int | None = None
    recheck: Recheck = "call"
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)
    class_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the class of the node, such as ``plate_name``."""
    creation_token: str | None = None
    """Token that a new store has in its document until it is complete; see `create_unfinished`."""

    def checked(self) -> OpenRequest:
        """Return the request with lists of channel names and axes; raise for values that no store accepts."""
        for name, choice, choices in (
            ("mode", self.mode, get_args(Mode)),
            ("layout", self.layout, get_args(Layout)),
            ("durability", self.durability, get_args(Durability)),
            ("recheck", self.recheck, get_args(Recheck)),
        ):
            if choice not in choices:
                raise InvalidArgumentError(
                    f"The argument {name} is one of {', '.join(choices)}, not {choice!r}."
                )
        replaces = self.class_options.get("overwriting_creation", False)
        check_flags(
            disable_path_checking=self.disable_path_checking,
            strict=self.strict,
            overwriting_creation=replaces,
        )
        cache_bytes, names = self.cache_bytes, self.channel_names
        if cache_bytes is not None:
            cache_bytes = whole_number(cache_bytes, "The argument cache_bytes", 0)
        if names is not None and not isinstance(names, str):  # `check_new_store` refuses text
            names = items_of(names, "The argument channel_names is a list of names")
        axes = None if self.axes is None else axes_from(self.axes)
        return replace(self, cache_bytes=cache_bytes, channel_names=names, axes=axes)

    def check_class_options(self, node_type: type[NGFFNode]) -> None:
        """Raise for an option that neither `open_ome_zarr` nor the class of the node has."""
        if self.class_options:
            parameters = {*signature(open_ome_zarr).parameters, *signature(node_type).parameters}
            parameters -= {"group", "kwargs"}
            check_options(f"open_ome_zarr() of a {node_type.__name__}", self.class_options, parameters)

    @property
    def node_options(self) -> dict[str, Any]:
        """The arguments of the class of the node, besides its path."""
        return {"channel_names": self.channel_names, "axes": self.axes, **self.class_options}

    def check_new_store(self, name: str) -> None:
        """Raise if the store ``name`` cannot be created with these arguments."""
        channel_names, axes = self.channel_names, self.axes
        action = f"create {name} with mode {self.mode!r}"
        if self.layout == "auto":
            raise InvalidArgumentError(
                f"Cannot {action}: layout='auto' is for existing stores. Give layout='fov' or 'hcs'."
            )
        if isinstance(channel_names, str):
            raise InvalidArgumentError(
                f"Cannot {action}: channel_names is a list of names, not the text {channel_names!r}."
            )
        if not all(isinstance(channel, str) and channel for channel in channel_names or []):
            raise InvalidArgumentError(
                f"Cannot {action}: channel_names is a list of texts that are not empty, "
                f"not {list(channel_names or [])!r}."
            )
        if axes is not None and not all(isinstance(axis, AxisMeta) for axis in axes):
            raise InvalidArgumentError(
                f"Cannot {action}: axes is text such as 'czyx', or a list of AxisMeta, not {axes!r}."
            )
        if axes is not None and not 2 <= len(axes) <= 5:
            raise InvalidArgumentError(f"Cannot {action}: an image has 2 to 5 axes (AX-06), not {len(axes)}.")
        if channel_names is None and channel_axis(axes or default_axes()) is not None:
            raise InvalidArgumentError(f"Cannot {action}: a new store needs channel_names.")
        if channel_names is not None and len(set(channel_names)) != len(list(channel_names)):
            raise InvalidArgumentError(
                f"Cannot {action}: channel_names {list(channel_names)} has a name twice."
            )
