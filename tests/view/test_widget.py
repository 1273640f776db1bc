"""The widget without a browser: its module, its answers, and who asks for it."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest

import lamella
from lamella.adapters.viewer import widget as widget_module
from lamella.adapters.viewer.answers import Answers
from lamella.adapters.viewer.widget import joined_module, reply
from lamella.errors import InvalidArgumentError, MissingDependencyError


@pytest.fixture
def position(tmp_path):
    return lamella.write_image(tmp_path / "a.zarr", np.full((64, 64), 7, "uint8"))


def test_the_modules_of_the_page_are_joined_to_one_without_imports():
    text = joined_module()
    assert re.findall(r"^import\b|^export (?!default)", text, re.MULTILINE) == []
    assert text.count("export default") == 1
    assert "https://" not in text


def test_messages_are_answered_with_scene_and_pixels_and_refused_with_the_reason(position):
    answers = Answers(position)
    content, (body,) = reply(answers, {"id": 3, "get": "scene.json"})
    assert content == {"id": 3}
    assert json.loads(body)["width"] == 64
    content, (body,) = reply(answers, {"id": 4, "get": "tile/0/0/0?c=0&t=0&z=0"})
    assert body.count(7) >= 64 * 64
    for message in (
        {"id": 5, "get": "../secret"},
        {"id": 5, "get": "tile/0/99999/0?c=0"},
        {"id": 5, "post": "contrast", "body": "[]"},
        {"id": 5},
    ):
        content, buffers = reply(answers, message)
        assert (content["id"], buffers) == (5, [])
        assert content["error"]
    answers.close()


def test_a_widget_has_the_module_and_answers_its_messages(position, monkeypatch):
    widget = position.view(height=300)
    sent = []
    monkeypatch.setattr(widget, "send", lambda *message: sent.append(message))
    widget._handle_custom_msg({"id": 1, "get": "scene.json"}, [])
    assert sent[0][0] == {"id": 1}
    assert widget.height == 300
    widget.close()
    with pytest.raises(InvalidArgumentError, match="height"):
        position.view(height=10)


def test_without_anywidget_the_extra_is_named(position, monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    widget_module._widget_class.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"lamella\[notebook\]"):
        position.view()
