"""The widget of notebooks in Chromium without a server: the messages of a kernel carry what the page asks for."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

import lamella
from browser import Browser
from lamella.adapters.viewer.answers import Answers
from lamella.adapters.viewer.widget import joined_module, reply

LOAD = """(async () => {
  const widget = (await import(%s)).default;
  window.outbox = [];
  const listeners = [];
  window.deliver = (message, texts) => {
    const buffers = texts.map((text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer));
    for (const listener of listeners) listener(message, buffers);
  };
  const model = {
    get: () => 600, send: (message) => window.outbox.push(message), on: (_, listener) => listeners.push(listener),
  };
  const style = document.createElement("style");
  style.textContent = %s;
  document.head.append(style);
  document.body.style.margin = 0;
  widget.render({ model, el: document.body });
})()"""


@pytest.fixture
def browser():
    window = Browser()
    yield window
    window.close()


def module_url():
    return "data:text/javascript;base64," + base64.b64encode(joined_module().encode()).decode()


def run_kernel(browser, answers, done):
    """Answer the messages of the page until a condition holds; return the requests."""
    asked = []
    for _ in range(400):
        for message in browser.run("window.outbox.splice(0)"):
            asked.append(message.get("get") or message.get("post"))
            content, buffers = reply(answers, message)
            texts = [base64.b64encode(buffer).decode() for buffer in buffers]
            browser.run(f"window.deliver({json.dumps(content)}, {json.dumps(texts)})")
        browser.run("new Promise(requestAnimationFrame)")
        if browser.run(f"Boolean({done})"):
            return asked
    raise AssertionError(f"{done} did not become true; asked for {asked}; {browser.problems()}")


def test_a_widget_shows_a_plate_through_messages_alone(browser, tmp_path):
    values = {"A/1/0": 40, "A/2/0": 120, "B/1/0": 240}
    path = tmp_path / "p.zarr"
    with lamella.open_ome_zarr(path, layout="hcs", mode="w", channel_names=["DAPI"], axes="cyx") as plate:
        for name, value in values.items():
            position = plate.create_position(*name.split("/"))
            position["0"] = np.full((1, 300, 300), value, "uint8")
            position.set_channel("DAPI", window=(0, 255), color="white")
    answers = Answers(lamella.open(path))
    style = lamella.__path__[0] + "/adapters/viewer/page/style.css"
    with open(style, encoding="utf-8") as file:
        browser.run(LOAD % (json.dumps(module_url()), json.dumps(file.read())))
    complete = "document.querySelector('.lamella')?.dataset.complete === 'true'"
    asked = run_kernel(browser, answers, complete)
    assert asked[0] == "scene.json"
    assert all(path.startswith(("scene.json", "progress.json", "tile/", "tables.json")) for path in asked)
    assert browser.problems() == []
    assert [url for url in browser.requests() if not url.startswith(("data:", "about:"))] == []
    browser.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    picture = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("RGB"))[:600, :1000]
    for value in values.values():
        assert (np.abs(picture.astype(int) - value) <= 1).all(axis=-1).sum() > 5000, value
    answers.close()


def test_an_error_of_the_kernel_is_shown_in_the_widget(browser, tmp_path):
    position = lamella.write_image(tmp_path / "a.zarr", np.zeros((64, 64), "uint8"))
    answers = Answers(position)
    browser.run(LOAD % (json.dumps(module_url()), '""'))
    browser.wait("window.outbox.length")
    number = browser.run("window.outbox.splice(0)[0].id")
    browser.run(f"window.deliver({{id: {number}, error: 'The store is gone.'}}, [])")
    browser.wait("document.body.innerText.includes('The store is gone.')")
    answers.close()
