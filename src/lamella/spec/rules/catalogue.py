"""The table of all rules of OME-NGFF: the requirement of each, and the input needed to check it.

Documentation and reports list this table. Nothing checks the rules of the draft 0.9.dev1.
`OWN_RULES` are those of lamella, for damage that no rule of the specification covers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from lamella.spec.rules.finding import Finding

if TYPE_CHECKING:
    from lamella.spec.rules.finding import Level, Location

Needs: TypeAlias = Literal["document", "arrays", "hierarchy", "unverifiable"]


@dataclass(frozen=True)
class Rule:
    """One rule of the specification.

    Attributes
    ----------
    id
        Two letters of the group and a number.
    level
        Keyword in the text: MUST, SHOULD, MAY; or "fact" for a statement that no file can break.
    versions
        Versions with the rule.
    text
        The requirement.
    needs
        Input of the check: one ``document``, its ``arrays``, the ``hierarchy`` of groups and files; ``unverifiable``
        for a rule that no file can show to be broken.
    advice_in
        Versions in which the MUST of the text is reported as a SHOULD.

    >>> RULES["ST-05"].level_in("0.5"), RULES["ST-05"].level_in("0.6")
    ('MUST', 'SHOULD')
    """

    id: str
    level: Literal["MUST", "SHOULD", "MAY", "fact"]
    versions: tuple[str, ...]
    text: str
    needs: Needs = "document"
    advice_in: tuple[str, ...] = ()

    def level_in(self, version: str) -> Level:
        """Return the level of a finding of this rule in a version."""
        return "MUST" if self.level == "MUST" and version not in self.advice_in else "SHOULD"


_V4 = ("0.4",)
_V5 = ("0.5",)
_V6 = ("0.6",)
_V9 = ("0.9.dev1",)
_V45 = _V4 + _V5
_V56 = _V5 + _V6
_ALL = _V4 + _V5 + _V6

_STORAGE = (
    Rule(
        "ST-01",
        "MUST",
        _V4,
        "groups and arrays are Zarr v2; metadata in .zattrs without an ome wrapper",
        "arrays",
    ),
    Rule("ST-02", "MUST", _V56, "groups and arrays are Zarr v3", "arrays"),
    Rule("ST-03", "MUST", _V56, "the metadata is the object `ome` in the attributes"),
    Rule("ST-04", "MUST", _V4, "chunks are nested: the dimension separator of arrays is '/'", "arrays"),
    Rule(
        "ST-05",
        "MUST",
        _V56,
        "dimension_names of each level are the axis names in order",
        "arrays",
        advice_in=_V6,
    ),
    Rule("ST-06", "MUST", _ALL, "no comments in the JSON files", "hierarchy"),
    Rule("ST-07", "MUST", _V56, "`ome.version` is there and names the version"),
    Rule("ST-08", "MUST", _V56, "one version throughout a hierarchy", "hierarchy"),
    Rule(
        "ST-09",
        "SHOULD",
        _V6,
        "arrays with transformation parameters lie in a group coordinateTransformations",
    ),
    Rule("ST-10", "MAY", _V4, "_ARRAY_DIMENSIONS for xarray", "unverifiable"),
    Rule("VE-01", "SHOULD", _V4, 'multiscales have the version "0.4"'),
    Rule("VE-02", "SHOULD", _V4, 'plate, well and image-label have the version "0.4"'),
    # ome/ngff#309: text and schema contradict each other, so nothing is reported.
    Rule("VE-03", "MUST", _V5, "plate, well and image-label may have a version", "unverifiable"),
    Rule("VE-04", "MUST", _V6, "no version keys inside: only ome.version"),
)

_AXES = (
    Rule("AX-01", "MUST", _ALL, "each axis is an object with a name"),
    Rule("AX-02", "MUST", _ALL, "axis names are unique"),
    Rule(
        "AX-03", "SHOULD", _ALL, "each axis has a type; any other string than the known ones is a custom type"
    ),
    Rule("AX-04", "SHOULD", _ALL, "space and time axes have a unit from the UDUNITS-2 list"),
    Rule("AX-05", "MUST", _ALL, "as many axes as each array has dimensions", "arrays"),
    Rule("AX-06", "MUST", _ALL, "2 to 5 axes"),
    Rule("AX-07", "MUST", _ALL, "2 or 3 space axes"),
    Rule("AX-08", "MUST", _ALL, "at most one time axis"),
    Rule("AX-09", "MUST", _ALL, "at most one axis is a channel axis, of a custom type or without a type"),
    Rule("AX-10", "MUST", _ALL, "order: time, then the axis of channels or of another type, then space"),
    Rule("AX-11", "SHOULD", _ALL, "an anisotropic stack has its space axes in the order z, y, x"),
    Rule("AX-12", "MUST", _ALL, "axes are in the order of the array's dimensions", "arrays"),
    Rule("AX-13", "MUST", _V6, "discrete is a boolean, longName a string"),
    Rule("AX-14", "SHOULD", _V9, "space axes are named y, x or z, y, x; names differ by more than case"),
    Rule("AX-15", "MUST", _V9, "orientation is one of the 24 anatomical terms, each once"),
    Rule("CS-01", "MUST", _V6, "a multiscale has a list of coordinateSystems"),
    Rule("CS-02", "MUST", _V6, "a coordinate system has a name, unique in its list"),
    Rule("CS-03", "MUST", _V6, "a coordinate system has valid axes"),
    Rule("CS-04", "MUST", _V6, "transformations connect all coordinate systems"),
    Rule("CS-05", "SHOULD", _V6, "the common reference system comes first in a scene", "unverifiable"),
    Rule("CS-06", "fact", _V6, "the centre of the first pixel is the origin", "unverifiable"),
)

_TRANSFORMATIONS = (
    Rule("CT-01", "MUST", _ALL, "each dataset has a list of transformations; each of them has a type"),
    Rule("CT-02", "MUST", _ALL, "a level has scale and translation only (0.6: scale, identity, sequence)"),
    Rule("CT-03", "MUST", _ALL, "exactly one scale (0.6: or an identity or sequence in its place)"),
    Rule("CT-04", "MUST", _V45, "at most one translation, after the scale"),
    Rule("CT-05", "MUST", _V45, "scale and translation are numbers, one for each axis"),
    Rule(
        "CT-06",
        "MUST",
        _ALL,
        "the scale of an axis without physical size is the downscaling factor from level 0",
    ),
    Rule("CT-07", "MUST", _ALL, "transformations of the whole multiscale obey the same rules"),
    Rule("CT-08", "MAY", _V45, "parameters in binary arrays", "unverifiable"),
    Rule(
        "CT-20",
        "MUST",
        _V6,
        "a transformation has a known type; its input and output are objects with name or path",
    ),
    Rule("CT-21", "MUST", _V6, "a level has one scale, one identity, or one sequence of scale, translation"),
    Rule("CT-22", "MUST", _V6, "input.path of a level is its path; it has no input.name"),
    Rule("CT-23", "MUST", _V6, "output.name of all levels is the same coordinate system; no output.path"),
    Rule(
        "CT-24", "MUST", _V6, "further transformations start or end at the intrinsic system of the multiscale"
    ),
    Rule(
        "CT-25",
        "MUST",
        _V6,
        "a transformation to labels is an identity, scale, translation or a sequence of them",
    ),
    Rule(
        "CT-26", "MUST", _V6, "input and output in a scene have a name; a system of an image also has a path"
    ),
    Rule("CT-27", "MUST", _V6, "the parameters fit the axes of the input and the output"),
    Rule("CT-28", "MUST", _V6, "scale: inline, one factor for each axis; not zero"),
    Rule("CT-29", "MUST", _V6, "translation: inline, one offset for each axis"),
    Rule("CT-30", "MUST", _V6, "mapAxis: a permutation of the axes"),
    Rule("CT-31", "MUST", _V6, "projectAxis: unique indices to drop or create, at least one"),
    Rule("CT-32", "MUST", _V6, "affine: a matrix of M rows and N+1 columns, inline or at a path"),
    Rule("CT-33", "MUST", _V6, "rotation: an orthonormal matrix of determinant 1, inline or at a path"),
    Rule("CT-34", "MUST", _V6, "sequence: one or more transformations"),
    Rule("CT-35", "MUST", _V6, "displacements and coordinates: the path of a field with a vector axis"),
    Rule("CT-36", "MUST", _V6, "byDimension: every output axis comes from exactly one item"),
    Rule("CT-37", "MUST", _V6, "bijection: forward and inverse between equal numbers of axes"),
    Rule("CT-38", "SHOULD", _V6, "no affine where a simpler transformation has the same effect"),
)

_IMAGES = (
    Rule("MS-01", "MUST", _ALL, "an image has a list of multiscales"),
    Rule("MS-02", "MUST", _ALL, "a multiscale has axes (0.6: inside its coordinate systems)"),
    Rule("MS-03", "MUST", _ALL, "a multiscale has a list of datasets"),
    Rule("MS-04", "MUST", _ALL, "each dataset has the path of an array below the group", "arrays"),
    Rule("MS-05", "MUST", _ALL, "datasets go from the highest resolution to the lowest", "arrays"),
    Rule("MS-06", "MUST", _ALL, "all arrays have the same number of dimensions, at most 5", "arrays"),
    Rule("MS-07", "MUST", _V6, "all arrays have the same data type", "arrays"),
    Rule("MS-08", "SHOULD", _ALL, "a multiscale has a name"),
    Rule("MS-09", "SHOULD", _ALL, "a multiscale names its downscaling method in `type`"),
    Rule("MS-10", "SHOULD", _ALL, "a multiscale describes its downscaling method in `metadata`"),
    Rule("OM-01", "MUST", _ALL, "omero has a list of channels"),
    Rule("OM-02", "MUST", _ALL, "each channel has a color of 6 hex digits", advice_in=_V6),
    Rule("OM-03", "MUST", _ALL, "each channel has a window of four numbers", advice_in=_V6),
    Rule("OM-04", "SHOULD", _V9, "as many channels as the channel axis is long", "arrays"),
)

_LABELS = (
    Rule("LB-01", "MUST", _ALL, "the group labels has a list `labels` of paths"),
    Rule("LB-02", "SHOULD", _V56, "the list names all label images", "hierarchy"),
    Rule("LB-03", "MUST", _ALL, "a label image has multiscales too", "arrays"),
    Rule("LB-04", "MUST", _ALL, "a label image has as many datasets as its image", "arrays"),
    Rule("LB-05", "MUST", _ALL, "labels are integers", "arrays"),
    Rule("LB-06", "MUST", _V56, "groups between labels and a label image have no metadata", "hierarchy"),
    Rule("LB-07", "SHOULD", _ALL, "a label image has image-label"),
    Rule("LB-08", "SHOULD", _ALL, "image-label has a list of colors"),
    Rule("LB-09", "MUST", _ALL, "each color has an integer label-value"),
    Rule("LB-10", "MUST", _ALL, "rgba is four integers from 0 to 255"),
    Rule("LB-11", "MUST", _ALL, "one color for each label-value", advice_in=_V56),
    Rule("LB-12", "MUST", _ALL, "properties are a list of objects, each with an integer label-value"),
    Rule("LB-13", "MUST", _ALL, "source.image is a relative path"),
    Rule(
        "LB-14", "SHOULD", _ALL, "each dimension of a label image is as long as the image's, or 1", "arrays"
    ),
    Rule("LB-15", "MUST", _V6, "the parent of a label image is an image", "arrays"),
)

_PLATES = (
    Rule("PL-01", "MUST", _ALL, "a plate has a list of columns, each with a name"),
    Rule("PL-02", "MUST", _ALL, "a plate has a list of rows, each with a name"),
    Rule("PL-03", "MUST", _ALL, "row and column names are alphanumeric and unique"),
    Rule("PL-04", "MUST", _ALL, "every physical row and column is listed", "unverifiable"),
    Rule("PL-05", "MUST", _ALL, "a plate has a list of wells with path, rowIndex, columnIndex"),
    Rule("PL-06", "MUST", _ALL, "a well's path is the row name and column name of its indices, such as A/1"),
    Rule("PL-07", "MUST", _ALL, "a well's indices are integers within rows and columns"),
    Rule("PL-08", "MUST", _ALL, "acquisitions have unique integer ids of 0 or more"),
    Rule("PL-09", "SHOULD", _ALL, "acquisitions have name and maximumfieldcount; fields of the right type"),
    Rule("PL-10", "SHOULD", _ALL, "a plate has field_count and name, of the right type"),
    Rule(
        "PL-12",
        "MUST",
        _ALL,
        "every listed well exists, as plate / row / well / image, and has images",
        "hierarchy",
    ),
    Rule("PL-13", "MUST", _ALL, "each well is listed once"),
    Rule("WL-01", "MUST", _ALL, "a well has a list of images with a path"),
    Rule("WL-02", "MUST", _ALL, "the path of an image is one name of allowed characters"),
    Rule("WL-03", "MUST", _ALL, "paths of images are unique"),
    Rule("WL-04", "MUST", _ALL, "with several acquisitions each image has one that the plate lists"),
)

_COLLECTIONS = (
    Rule("BF-01", "MUST", _ALL, "bioformats2raw.layout is 3"),
    Rule(
        "BF-02",
        "MUST",
        _ALL,
        "a plate at the top has plate metadata, and its images lie where that says",
        "hierarchy",
    ),
    Rule("BF-03", "SHOULD", _ALL, "OME/METADATA.ome.xml is valid metadata-only OME-XML", "hierarchy"),
    Rule("BF-04", "SHOULD", _ALL, "beside a plate, a matching series", "hierarchy"),
    Rule("BF-05", "MUST", _ALL, "series is a list of paths of images"),
    Rule("BF-06", "MUST", _ALL, "without series and plate, images lie in groups 0, 1, ...", "hierarchy"),
    Rule(
        "BF-07", "MUST", _ALL, "each multiscales group is one Image of the OME-XML, in its order", "hierarchy"
    ),
    Rule("SC-01", "MUST", _V6, "a scene has a list of coordinateTransformations"),
    Rule("SC-02", "MUST", _V6, "coordinateSystems of a scene are a list of valid systems"),
)

_READERS = (
    Rule(
        "RD-01",
        "MUST",
        _V6,
        "readers parse identity, scale, translation and sequences of them",
        "unverifiable",
    ),
    Rule("RD-02", "SHOULD", _V6, "readers parse, apply and invert further transformations", "unverifiable"),
    Rule(
        "RD-03", "SHOULD", _ALL, "readers show that a bioformats2raw group has several images", "unverifiable"
    ),
    Rule("RD-04", "SHOULD", _V56, "readers show labels in their colors", "unverifiable"),
    Rule(
        "RD-05",
        "fact",
        _ALL,
        "readers use the only multiscale, or choose by name, else the first",
        "unverifiable",
    ),
    Rule(
        "RD-06",
        "SHOULD",
        _V6,
        "readers bring images into one coordinate system before analysis",
        "unverifiable",
    ),
)

RULES: dict[str, Rule] = {
    rule.id: rule
    for group in (_STORAGE, _AXES, _TRANSFORMATIONS, _IMAGES, _LABELS, _PLATES, _COLLECTIONS, _READERS)
    for rule in group
}
"""All rules by id."""


def _own(number: str, level: Level, text: str) -> Rule:
    return Rule(f"LM-{number}", level, _ALL, text, "hierarchy")


OWN_RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in (
        _own(
            "01",
            "MUST",
            "every metadata document can be read, is a JSON object, and states a group or an array",
        ),
        _own("02", "SHOULD", "a node has documents of one Zarr format"),
        _own("03", "MUST", "documents contain only values that JSON has: no NaN, no Infinity"),
        _own("04", "SHOULD", "the version is one that the rules cover: 0.4, 0.5 or 0.6"),
        _own("05", "SHOULD", "a plate lists its wells and a well its images: all that are there"),
        _own("06", "MUST", "there is OME-NGFF metadata at the path or below"),
        _own("07", "MUST", "the document of an array says its shape, data type and chunks"),
        _own("08", "MUST", "consolidated metadata are the same as the documents that they copy"),
        _own("09", "MUST", "every chunk and shard can be decoded"),
        _own("10", "MUST", "a level is what its metadata say: the level before it, downsampled"),
        _own("11", "SHOULD", "there are as many channel names as channels, and no two are equal"),
        _own("12", "SHOULD", "an image has one multiscale"),
        _own("13", "SHOULD", "each level of an image is listed once"),
        _own("14", "SHOULD", "all levels of an image show the same field of view"),
        _own("15", "MUST", "an archive has one store, of Zarr v3, and their roots are the same (RFC-9)"),
        _own("16", "SHOULD", "the name of an archive ends with .ozx (RFC-9)"),
        _own("17", "SHOULD", "an archive is ZIP64, and its entries are not compressed (RFC-9)"),
        _own("18", "SHOULD", "zarr.json documents are first in an archive, breadth first (RFC-9)"),
        _own("19", "SHOULD", "the comment of an archive names the version of the store (RFC-9)"),
        _own("20", "SHOULD", "arrays of several chunks in an archive have shards (RFC-9)"),
        _own("21", "SHOULD", "a group of tables lists the tables that are there, each once"),
        _own("22", "MUST", "a table names its backend, and has the files of it"),
        _own("23", "SHOULD", "a table of labels names a label image that is there"),
        _own("24", "MUST", "a table of regions has their columns, with numbers, and lengths above 0"),
        _own("25", "SHOULD", "the scales of all levels of an image fit their lengths"),
    )
}
"""All rules of lamella by id: ``"LM-"`` and a number, which is never reused. If a MUST is broken, readers fail or read
other values than are stored."""


def own_finding(
    rule: str, node: str, found: str, remedy: str, *, at: Location = (), level: Level | None = None
) -> Finding:
    """Return a finding of a rule of lamella."""
    return Finding(rule, level or OWN_RULES[rule].level_in(""), node, at, found, remedy)
