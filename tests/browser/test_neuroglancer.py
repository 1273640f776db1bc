"""neuroglancer's own page shows the generated state: planes with labels, and channels and labels in 3-D."""

from __future__ import annotations

import numpy as np
import pytest

import lamella
from pictures import screen


@pytest.mark.parametrize("browser", ["webgl"], indirect=True)  # neuroglancer draws with WebGL only
def test_channels_and_labels_are_drawn_in_planes_and_in_three_dimensions(browser, tmp_path):
    pixels = np.zeros((1, 16, 64, 64), "uint16")
    pixels[0, :, :, :32] = 500
    ids = np.zeros((16, 64, 64), "uint16")
    ids[:, :, 40:] = 4
    image = lamella.write_image(tmp_path / "i.zarr", pixels, axes="czyx", channels={"GFP": "lime"})
    image.set_channel("GFP", window=(0, 500))
    image.labels.create("cells", ids, colors={4: (255, 0, 0)})
    browser.leave()
    with lamella.view(image, browser=False, viewer="neuroglancer") as viewer:
        browser.call("Page.navigate", url=viewer.url)
        browser.wait("window.viewer && viewer.isReady && viewer.isReady()")

        def is_drawn():
            shown = screen(browser).astype(int)
            green = (shown[..., 1] > 100) & (shown[..., 0] < 40) & (shown[..., 2] < 40)
            red = (shown[..., 0] > 60) & (shown[..., 1] < 40) & (shown[..., 2] < 40)
            return all(
                color[:, half].sum() > 3000
                for color in (green, red)
                for half in (slice(640), slice(640, None))
            )

        for _ in range(200):
            if is_drawn():
                break
            browser.run("new Promise(requestAnimationFrame)")
        assert is_drawn()
        assert not [
            url
            for url in browser.requests()
            if not url.startswith(("http://127.0.0.1:", "blob:", "data:", "about:"))
        ]
