"""The viewer as a widget of notebooks (extra ``notebook``): the same page, whose requests are messages to the kernel.

anywidget loads one module, so the modules of the page are joined to one: each becomes a function that returns what the
module exports.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from lamella.adapters.viewer.answers import Answers
from lamella.errors import InvalidArgumentError, LamellaError, importing, one_line

if TYPE_CHECKING:
    from lamella.nodes.node import NGFFNode

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function|class|const) (\w+|\[[\w, ]+\])", re.MULTILINE)
_HEIGHTS = (200, 4000)

_ENTRY = """
const { mount } = $view;
function sourceOf(model) {
  let last = 0;
  const waiting = new Map();
  model.on("msg:custom", (message, buffers) => {
    const call = waiting.get(message.id);
    waiting.delete(message.id);
    if (!call) return;
    if (message.error) return call.reject(new Error(message.error));
    const { buffer, byteOffset, byteLength } = buffers[0];
    call.resolve(buffer.slice(byteOffset, byteOffset + byteLength));
  });
  const ask = (message, signal) => new Promise((resolve, reject) => {
    const id = ++last;
    waiting.set(id, { resolve, reject });
    signal?.addEventListener("abort", () => waiting.delete(id) && reject(new Error("abandoned")));
    model.send({ id, ...message });
  });
  return {
    get: (path, signal) => ask({ get: path }, signal),
    post: async (path, value) => {
      const answer = await ask({ post: path, body: JSON.stringify(value) });
      return JSON.parse(new TextDecoder().decode(answer));
    },
  };
}
export default {
  async render({ model, el }) {
    const root = document.createElement("div");
    root.style.height = `${model.get("height")}px`;
    el.replaceChildren(root);
    await mount(root, sourceOf(model));
  },
};
"""


@lru_cache(maxsize=1)
def joined_module() -> str:
    """Return the modules of the page as one module whose default export is a widget for anywidget."""
    folder = resources.files("lamella.adapters.viewer") / "page"
    parts: dict[str, str] = {}
    _join("view", lambda name: (folder / f"{name}.js").read_text(encoding="utf-8"), parts)
    return "".join(parts.values()) + _ENTRY


def _join(name: str, read: Any, parts: dict[str, str]) -> None:
    """Add a module to ``parts``, after those that it imports."""
    text = read(name)
    for names, imported in _IMPORT.findall(text):
        assert names.strip()
        if imported not in parts:
            _join(imported, read, parts)
    exported = [entry for _, names in _EXPORT.findall(text) for entry in re.findall(r"\w+", names)]
    text = _IMPORT.sub(lambda match: f"const {{{match[1]}}} = ${match[2]};", text)
    text = _EXPORT.sub(lambda match: f"{match[1]} {match[2]}", text)
    parts[name] = f"const ${name} = (() => {{\n{text}\nreturn {{ {', '.join(exported)} }};\n}})();\n"


@lru_cache(maxsize=1)
def _widget_class() -> Any:
    """Return the class of the widget; raise MissingDependencyError without anywidget."""
    with importing(
        "The viewer in a notebook needs anywidget, which is not installed. Install it with: "
        'pip install "lamella[notebook]", or use lamella.view(node), which needs nothing else.'
    ):
        import anywidget
        import traitlets
    style = (resources.files("lamella.adapters.viewer") / "page" / "style.css").read_text(encoding="utf-8")

    class ViewerWidget(anywidget.AnyWidget):  # type: ignore[misc]
        """A viewer in a notebook."""

        _esm = joined_module()
        _css = style
        height = traitlets.Int(560).tag(sync=True)

        def __init__(self, answers: Answers, height: int) -> None:
            super().__init__(height=height)
            self._answers = answers
            self.on_msg(lambda _, message, __: self.send(*reply(self._answers, message)))

        def close(self) -> None:
            """Close the widget, and stop its threads."""
            self._answers.close()
            super().close()

    return ViewerWidget


def reply(answers: Answers, message: Any) -> tuple[dict[str, Any], list[bytes]]:
    """Return the message and the buffers that answer a message of the page."""
    number = message.get("id") if isinstance(message, dict) else None
    try:
        if "post" in message:
            _, body = answers.post(str(message["post"]), str(message.get("body", "")).encode())
        else:
            _, body = answers.get(str(message.get("get", "")))
    except (LamellaError, TypeError) as error:
        return {"id": number, "error": one_line(error)}, []
    return {"id": number}, [body]


def view_widget(node: NGFFNode, height: int) -> Any:
    """Return a widget that shows a node; ``height`` in pixels."""
    if isinstance(height, bool) or not isinstance(height, int) or not _HEIGHTS[0] <= height <= _HEIGHTS[1]:
        raise InvalidArgumentError(
            f"The height is from {_HEIGHTS[0]} to {_HEIGHTS[1]} pixels, not {height!r}."
        )
    widget_class = _widget_class()
    return widget_class(Answers(node), height)
