"""Law: a tensor of PyTorch is written as an image as an array of numpy is, wherever it lies in memory."""

from __future__ import annotations

import numpy as np
import pytest

import lamella
from lamella.errors import InvalidArgumentError

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "bool"])
def test_a_tensor_is_written_as_an_image(tmp_path, dtype):
    pixels = torch.arange(2 * 3 * 24 * 32).reshape(2, 3, 24, 32).to(getattr(torch, dtype))
    image = lamella.write_image(tmp_path / "image.zarr", pixels, "czyx", levels=1)
    assert image.data.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(image.data[...], pixels.numpy())


def test_a_tensor_that_is_a_view_or_has_a_gradient_is_written_with_its_values(tmp_path):
    pixels = torch.rand(32, 24, 3, requires_grad=True)
    view = pixels.permute(2, 0, 1)
    image = lamella.write_image(
        tmp_path / "image.zarr", view, "cyx", scale={"x": 0.5}, channels=["r", "g", "b"]
    )
    np.testing.assert_array_equal(image.data[...], view.detach().numpy())
    assert image.channel_names == ["r", "g", "b"]


def test_a_tensor_of_a_type_that_numpy_lacks_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="bfloat16"):
        lamella.write_image(tmp_path / "image.zarr", torch.zeros(8, 8, dtype=torch.bfloat16), "yx")
    assert not (tmp_path / "image.zarr").exists()
