"""The viewer as a widget of notebooks (extra ``notebook``): the same page; its requests are messages to the kernel."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lamella.adapters.viewer.answers import Answers
from lamella.adapters.viewer.page_files import joined_modules, page_files
from lamella.errors import InvalidArgumentError, LamellaError, importing, one_line

if TYPE_CHECKING:
    from lamella.nodes.node import NGFFNode

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


def joined_module() -> str:
    """Return the modules of the page as one module whose default export is a widget for anywidget."""
    return joined_modules(page_files(), "view") + _ENTRY


@lru_cache(maxsize=1)
def _widget_class() -> Any:
    """Return the class of the widget; raise MissingDependencyError without anywidget."""
    with importing(
        "The viewer in a notebook needs anywidget, which is not installed "
        '(pip install "lamella[notebook]"). Or use lamella.view(node), which needs nothing else.'
    ):
        import anywidget
        import traitlets

    class ViewerWidget(anywidget.AnyWidget):  # type: ignore[misc]
        """A viewer in a notebook."""

        _esm = joined_module()
        _css = page_files()["style.css"].decode()
        height = traitlets.Int(560).tag(sync=True)

        def __init__(self, answers: Answers, height: int) -> None:
            super().__init__(height=height)
            self._answers = answers
            self.on_msg(lambda _, message, __: self.send(*reply(self._answers, message)))

        def close(self) -> None:
            """Close the widget, and stop the threads of its answers."""
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
    return _widget_class()(Answers(node), height)
