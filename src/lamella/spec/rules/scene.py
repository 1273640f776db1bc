"""Rules SC of 0.6: images and coordinate systems related in a scene."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.spec.rules.coordinate_systems import check_systems
from lamella.spec.rules.raw_json import describe
from lamella.spec.rules.transformations import check_scene_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.spec.rules.finding import Finding, Location
    from lamella.spec.rules.version_traits import RuleContext
    from lamella.types import JSONObject


def check_scene(ome: JSONObject, at: Location, context: RuleContext) -> Iterator[Finding]:
    """Check ``scene``."""
    if not isinstance(ome.get("scene"), dict):
        where = (*at, "scene") if "scene" in ome else at
        found = f"scene is {describe(ome['scene'])}" if "scene" in ome else "there is no scene"
        yield context.finding("SC-01", where, found, "write an object with coordinateTransformations")
        return
    scene = ome["scene"]
    where = (*at, "scene")
    if "coordinateSystems" in scene:
        # The bounds for arrays (AX-08 to AX-10) apply to multiscales only.
        yield from check_systems(
            scene["coordinateSystems"], (*where, "coordinateSystems"), context, rule="SC-02", bounded=False
        )
    yield from check_scene_list(scene, where, context)
