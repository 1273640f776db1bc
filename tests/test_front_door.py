"""What `import lamella` gives, and what it costs."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest

import lamella
from lamella import errors

# Libraries that take long to load: each on its first use, never at the door.
HEAVY = (
    "dask",
    "fsspec",
    "numba",
    "ome_types",
    "pandas",
    "PIL",
    "pyarrow",
    "rich",
    "skimage",
    "tensorstore",
    "tifffile",
    "xarray",
    "zarr",
)

# A name that appears here is a promise. Change this list on purpose or not at all.
PUBLIC = {
    "__version__",
    "AcquisitionMeta",
    "ArrayStatus",
    "AxisMeta",
    "ChannelAxisMeta",
    "Collection",
    "ConvertReport",
    "CopyReport",
    "CropSource",
    "Finding",
    "FrameStream",
    "ImageStatus",
    "MapReport",
    "Mosaic",
    "RepairReport",
    "RewriteReport",
    "Roi",
    "SpaceAxisMeta",
    "StoreStatus",
    "Tables",
    "TimeAxisMeta",
    "TransformationMeta",
    "ValidationReport",
    "VerifyReport",
    "Viewer",
    "WindowDict",
    "open",
    "open_ome_zarr",
    "ImageArray",
    "LabelImage",
    "Labels",
    "NGFFNode",
    "PlannedImage",
    "Plate",
    "Position",
    "Row",
    "Scene",
    "TiledImageArray",
    "TiledPosition",
    "Well",
    "checksum",
    "concatenate_channels",
    "convert",
    "copy_store",
    "errors",
    "export",
    "merge",
    "models",
    "pack",
    "readers",
    "rechunk",
    "repair",
    "status",
    "unpack",
    "upgrade",
    "validate",
    "verify",
    "view",
    "watch",
    "WatchReport",
    "write_image",
}


def test_import_lamella_loads_none_of_the_slow_libraries():
    code = "import sys, json, lamella; from lamella import *; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(run.stdout)}
    assert not loaded & set(HEAVY)


def test_pixels_at_a_url_are_read_without_zarr_python(tmp_path, service):
    with lamella.write_image(tmp_path / "i.zarr", np.full((1, 8, 8), 7, "uint8"), axes="cyx"):
        pass
    service.put_folder(tmp_path / "i.zarr", "/bucket/i.zarr")
    code = f"""import sys, lamella
print(int(lamella.open("{service.endpoint}/bucket/i.zarr")["0"][:].sum()), "zarr" in sys.modules)"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [str(7 * 64), "False"]


def test_jobs_on_local_folders_load_no_clients_of_services(tmp_path):
    with lamella.write_image(tmp_path / "i.zarr", np.ones((1, 8, 8), "uint8"), axes="cyx"):
        pass
    code = """import sys, lamella
from lamella import Plate
lamella.upgrade("i.zarr", "0.6", "u.zarr")
lamella.copy_store("i.zarr", "c.zarr")
lamella.pack("i.zarr", "p.ozx")
Plate.from_positions("q.zarr", {"A/1/0": lamella.open("i.zarr")})
print([name for name in ("asyncio", "ssl", "zarr") if name in sys.modules])"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"


def test_public_names_are_pinned():
    assert set(lamella.__all__) == PUBLIC
    assert len(lamella.__all__) == len(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_name_is_there(name):
    assert getattr(lamella, name) is not None


def test_a_misspelt_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="open_ome_zar"):
        getattr(lamella, "open_ome_zar")  # noqa: B009


def test_models_keep_the_names_that_existing_code_imports():
    models = importlib.import_module("lamella.models")
    known = {
        "AxisMeta",
        "ChannelAxisMeta",
        "SpaceAxisMeta",
        "TimeAxisMeta",
        "TransformationMeta",
        "WindowDict",
    }
    assert known <= set(models.__all__)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.StoreNotFoundError, FileNotFoundError),
        (errors.StoreExistsError, FileExistsError),
        (errors.NodeNotFoundError, KeyError),
        (errors.NodeExistsError, ValueError),
        (errors.InvalidNameError, ValueError),
        (errors.InvalidArgumentError, ValueError),
        (errors.ReadOnlyError, PermissionError),
        (errors.ClosedError, ValueError),
        (errors.MetadataError, ValueError),
        (errors.DamagedDataError, OSError),
        (errors.TooLargeError, MemoryError),
        (errors.SourceError, ValueError),
        (errors.UnitsFailedError, RuntimeError),
        (errors.MissingDependencyError, ImportError),
    ],
)
def test_errors_are_caught_by_the_builtin_a_caller_expects(error, builtin):
    with pytest.raises(builtin) as caught:
        raise error("no well 'A/9': this plate has 'A/1'")
    assert isinstance(caught.value, errors.LamellaError)
    assert str(caught.value) == "no well 'A/9': this plate has 'A/1'"
