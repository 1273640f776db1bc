"""Visit bioformats2raw collections and scenes in an inspection, and check their members (BF-02 to BF-07, CT-26)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamella.errors import LamellaError, clause
from lamella.spec.ome_xml import children, parse_xml
from lamella.spec.rules.value import describe, objects, strings
from lamella.store.keys import join

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from lamella.ops.raw_nodes import StoredNode
    from lamella.ops.validation.walk import Inspection
    from lamella.spec.rules import Location
    from lamella.types import JSONObject

XML_FILE = "METADATA.ome.xml"

_PIXELS = ("BinData", "BinaryOnly", "TiffData")
"""Elements of OME-XML that contain or name pixels; OME-XML beside a store has ``MetadataOnly`` instead."""


def visit_collection(inspection: Inspection, node: StoredNode) -> None:
    """Check the top group of a collection, its OME group and XML, and its images."""
    version = inspection.check_group(node)
    inspection.check_document("bioformats2raw", node)
    ome = inspection.read_group(join(node.path, "OME"))
    if ome.exists:
        inspection.check_document("ome", ome)
    # In 0.5 the folder of the OME-XML often has no document (A23), so the file is checked without it.
    series = ome.ome.get("series")
    series_paths = strings(series) if isinstance(series, list) else None
    plate = node.ome.get("plate")
    if series_paths is not None:
        images = list(dict.fromkeys(series_paths))
        _visit_series(inspection, node, ome, images, version)
    elif isinstance(plate, dict):
        images = _plate_images(inspection, node, plate)
    else:
        images = _visit_numbered(inspection, node, version)
    if isinstance(plate, dict):
        _check_series_of_plate(inspection, node, ome, plate, series_paths, version)
    else:
        _check_missing_plate(inspection, node, images, version)
    _check_xml(inspection, node, images, version)


def _visit_series(
    inspection: Inspection, node: StoredNode, ome: StoredNode, images: list[str], version: str
) -> None:
    at = ome.location("series")
    for number, path in enumerate(images):
        image = inspection.reader.group(join(node.path, path))
        if not image.exists:
            inspection.report_missing("BF-05", ome, (*at, number), "image", path, below=node, version=version)
        elif "plate" not in node.ome:
            inspection.visit_image(inspection.read_group(image.path))


def _visit_numbered(inspection: Inspection, node: StoredNode, version: str) -> list[str]:
    images = [name for name in node.members if name.isdecimal()]
    for path in images:
        inspection.visit_image(inspection.read_group(join(node.path, path)))
    if images != [str(number) for number in range(len(images))] or not images:
        found = f"the images are {describe(images)}" if images else "there is no image 0"
        remedy = "number the images 0, 1, ..., or list them in series of the group OME"
        inspection.report("BF-06", node, found, remedy, version=version)
    return images


def _plate_images(inspection: Inspection, node: StoredNode, plate: JSONObject) -> list[str]:
    """Return the paths of the images that a plate and its wells list."""
    images = []
    for _, listed_well in objects(plate.get("wells")):
        path = listed_well.get("path")
        if isinstance(path, str):
            well = inspection.reader.group(join(node.path, path)).ome.get("well")
            fields = objects(well.get("images")) if isinstance(well, dict) else ()
            images += [f"{path}/{image['path']}" for _, image in fields if isinstance(image.get("path"), str)]
    return images


def _check_series_of_plate(
    inspection: Inspection,
    node: StoredNode,
    ome: StoredNode,
    plate: JSONObject,
    series_paths: list[str] | None,
    version: str,
) -> None:
    if series_paths is None:
        found = "the group OME lists no series beside the plate"
        inspection.report("BF-04", node, found, "list all images in series of the group OME", version=version)
        return
    images = _plate_images(inspection, node, plate)
    if sorted(images) != sorted(series_paths):
        differing = sorted(set(images) ^ set(series_paths))
        found = f"the plate and series differ in {describe(differing) if differing else 'the images listed twice'}"
        remedy = "list the images of the plate"
        inspection.report("BF-04", ome, found, remedy, at=ome.location("series"), version=version)


def _check_missing_plate(inspection: Inspection, node: StoredNode, images: list[str], version: str) -> None:
    """Report wells of a plate that the top group does not describe."""
    roots = {path.partition("/")[0] for path in images if "/" in path} or set(node.members) - set(images)
    for name in sorted(roots - {"OME"}):
        row = inspection.reader.group(join(node.path, name))
        if any("well" in inspection.reader.group(join(row.path, column)).ome for column in row.members):
            found = f"there are wells in {describe(name)}, and the group has no plate"
            remedy = "write the metadata of the plate: reindex does"
            inspection.report("BF-02", node, found, remedy, version=version)
            return


def _check_xml(inspection: Inspection, node: StoredNode, images: list[str], version: str) -> None:
    key = join(node.path, f"OME/{XML_FILE}")
    ome_path = join(node.path, "OME")
    try:
        data = inspection.reader.storage.read(key)
        root = None if data is None else parse_xml(data)
    except (LamellaError, OSError) as error:
        found = f"{XML_FILE} cannot be read: {clause(error)}"
        inspection.report("BF-03", ome_path, found, "restore it from a copy", level="MUST", version=version)
        return
    if root is None:
        inspection.report("BF-03", ome_path, f"there is no {XML_FILE}", "keep the OME-XML", version=version)
        return
    names = [element.tag.rpartition("}")[2] for element in root.iter()]
    pixels = [name for name in _PIXELS if name in names]
    if names[0] != "OME" or pixels:
        found = (
            f"{XML_FILE} has {pixels[0]}" if pixels else f"{XML_FILE} is not OME-XML but {describe(names[0])}"
        )
        inspection.report(
            "BF-03", ome_path, found, "write OME-XML with MetadataOnly", level="MUST", version=version
        )
    elements = list(children(root, "Image"))
    difference = ""
    if len(elements) != len(images):
        difference = f"{XML_FILE} has {len(elements)} images, the collection {len(images)}"
    else:
        for number, (element, path) in enumerate(zip(elements, images, strict=True)):
            xml_plane, plane = _described_plane(element), _stored_plane(inspection, join(node.path, path))
            if xml_plane and plane and xml_plane != plane:
                difference = (
                    f"image {number} of {XML_FILE} has {xml_plane[1]} x {xml_plane[0]} pixels, and its image in "
                    f"the series, {describe(path)}, {plane[1]} x {plane[0]}"
                )
                break
    if names[0] == "OME" and difference:
        remedy = "describe each image once, in the order of the series"
        inspection.report("BF-07", ome_path, difference, remedy, version=version)


def _described_plane(element: Element) -> tuple[int, ...] | None:
    """Return height and width of an image in the OME-XML."""
    pixels = next(children(element, "Pixels"), None)
    texts = [] if pixels is None else [pixels.get(key, "") for key in ("SizeY", "SizeX")]
    return (
        tuple(map(int, texts))
        if texts and all(text.isdecimal() and len(text) < 10 for text in texts)
        else None
    )


def _stored_plane(inspection: Inspection, path: str) -> tuple[int, ...] | None:
    """Return height and width of the finest level of an image, whose axes end in y and x."""
    image = inspection.reader.group(path)
    multiscale = next((entry for _, entry in objects(image.ome.get("multiscales"))), {})
    level = next((entry.get("path") for _, entry in objects(multiscale.get("datasets"))), None)
    if not isinstance(level, str):
        return None
    facts = inspection.reader.array(join(path, level), image.zarr_format).facts
    return None if facts is None else tuple(facts.shape[-2:])


def visit_scene(inspection: Inspection, node: StoredNode) -> None:
    """Check a scene, and the images of its coordinate systems."""
    version = inspection.check_group(node)
    inspection.check_document("scene", node)
    scene = node.ome.get("scene")
    at: Location = ("ome", "scene", "coordinateTransformations")
    seen: set[str] = set()
    transformations = objects(scene.get("coordinateTransformations")) if isinstance(scene, dict) else ()
    for number, transformation in transformations:
        for side in ("input", "output"):
            reference = transformation.get(side)
            path = reference.get("path") if isinstance(reference, dict) else None
            if not isinstance(path, str) or not path.strip("./") or path in seen:
                continue
            seen.add(path)
            image = inspection.read_group(join(node.path, path.removeprefix("./").strip("/")))
            if not image.exists:
                inspection.report(
                    "CT-26",
                    node,
                    f"there is no group {describe(path)}",
                    "write the path of an image group",
                    at=(*at, number, side, "path"),
                    version=version,
                )
            elif "multiscales" in image.ome and "multiscales" not in node.ome:
                inspection.visit_image(image)
