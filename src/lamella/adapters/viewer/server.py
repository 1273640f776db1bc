"""Serve the viewer on 127.0.0.1: the files of the page, and the answers to its requests (`answers`).

URLs are `http://127.0.0.1:PORT/TOKEN/...`; other users and web pages cannot guess the random token. The `Host` header
must be a loopback name or an allowed name, so that requests of a foreign page are refused even if its domain resolves
to 127.0.0.1. No part of a URL is used as a file path. The server answers GET only; with ``edit=True`` it also answers
the POST by which its own page saves the contrast.
"""

from __future__ import annotations

import gzip
import hmac
import secrets
import threading
import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Literal

from lamella._version import __version__
from lamella.adapters.viewer.answers import MAX_POST_BYTES, Answers, UnknownRequestError
from lamella.adapters.viewer.neuroglancer import NeuroglancerAnswers
from lamella.errors import InvalidArgumentError, LamellaError, one_line
from lamella.ops.display.preview_plate import shown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from lamella.nodes.node import NGFFNode
    from lamella.ops.view.scene import ViewScene
    from lamella.types import StrPath

_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8",
    "wasm": "application/wasm",
}
_EVENTS = "text/event-stream"
_COMMENT_SECONDS = 15.0
"""Seconds between two empty comments on the stream of events; writing one fails if the page was closed."""

_POLL_SECONDS = 0.02
"""Interval in which the server checks whether `Viewer.close` was called."""

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Viewer:
    """A running viewer of an image or a plate.

    Attributes
    ----------
    url
        Address of the page, on this machine only.
    port
        Port of the address.

    Examples
    --------
    >>> import lamella
    >>> viewer = lamella.view(plate, browser=False)
    >>> viewer
    <Viewer of ... at http://127.0.0.1:...>
    >>> viewer.close()
    """

    def __init__(
        self,
        node: NGFFNode,
        *,
        port: int = 0,
        allow_hosts: Sequence[str] = (),
        edit: bool = False,
        viewer: str = "lamella",
        node_to_close: NGFFNode | None = None,
    ) -> None:
        self._node_to_close = node_to_close
        self.answers = _answers(node, viewer, edit)
        self.token = secrets.token_urlsafe(16)
        self.ended = threading.Event()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.viewer = self
        self.port: int = self._server.server_address[1]
        self.hosts = {*_LOOPBACK, *(host.lower() for host in allow_hosts)}
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="lamella-view", daemon=True
        )
        self._thread.start()

    @property
    def scene(self) -> ViewScene:
        """The layout of the fields, and the channels."""
        return self.answers.scene

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def close(self) -> None:
        """Stop the server and its threads; the node stays open. A second call does nothing.

        Examples
        --------
        >>> import lamella
        >>> viewer = lamella.view(plate, browser=False)
        >>> viewer.close()
        """
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.answers.close()
        if self._node_to_close is not None:
            self._node_to_close.close()

    def wait(self) -> None:
        """Serve until the process is interrupted, or until another thread calls `close`.

        Examples
        --------
        >>> import threading, lamella
        >>> with lamella.view(plate, browser=False) as viewer:
        ...     threading.Timer(0.1, viewer.close).start()
        ...     viewer.wait()
        """
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Viewer of {shown_name(self.answers.node)} at {self.url}>"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False
    viewer: Viewer

    def server_bind(self) -> None:
        """Bind without the look-up of this machine's name, which HTTPServer does and which can take seconds."""
        TCPServer.server_bind(self)


class _RefusedError(Exception):
    """A request that is refused, with status and reason."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection by `Viewer.answers`."""

    protocol_version = "HTTP/1.1"
    server_version = f"lamella/{__version__}"
    sys_version = ""
    timeout = 60
    disable_nagle_algorithm = True  # otherwise the body, which is sent after the headers, waits 40 ms
    server: _Server

    def do_GET(self) -> None:
        """Answer with a file of the page, the scene or pixels."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Run a request that changes the store, if the viewer may edit and the page itself sent the request."""
        if not self.server.viewer.answers.editable:
            self.close_connection = True  # because the body is not read
            self.send_error(HTTPStatus.NOT_IMPLEMENTED, "This viewer only reads")
            return
        self._answer(self._post)

    def _answer(self, respond: Callable[[str], tuple[str, bytes]]) -> None:
        try:
            content_type, body = respond(self._checked_request())
        except _RefusedError as refusal:
            self.close_connection = self.command == "POST"
            self._send(refusal.status, "text/plain", str(refusal).encode())
        except UnknownRequestError as error:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", one_line(error).encode())
        except LamellaError as error:
            self._send(HTTPStatus.BAD_REQUEST, "text/plain", one_line(error).encode())
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        else:
            if content_type == _EVENTS:
                self._wait_with_events()
            else:
                self._send(HTTPStatus.OK, content_type, body)

    def _wait_with_events(self) -> None:
        """Keep a stream without events open until the page or the viewer is closed."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", _EVENTS)
        self._end_headers()
        try:
            self.wfile.write(b":\n\n")
            while not self.server.viewer.ended.wait(_COMMENT_SECONDS):
                self.wfile.write(b":\n\n")
        except OSError:
            pass  # the page was closed

    def _checked_request(self) -> str:
        """Check the host and the token, and return the URL after the token."""
        viewer = self.server.viewer
        host = (self.headers.get("Host") or "").lower()
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name not in viewer.hosts:
            raise _RefusedError(
                HTTPStatus.FORBIDDEN,
                f"The viewer is not served as {name or 'a host without a name'}. Open it at 127.0.0.1, or start it "
                f"with --allow-host.",
            )
        token, slash, request = self.path.lstrip("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode("utf-8", "replace"), viewer.token.encode()):
            raise _RefusedError(
                HTTPStatus.NOT_FOUND, "There is no such viewer. Open the URL that lamella printed."
            )
        return request

    def _get(self, request: str) -> tuple[str, bytes]:
        """Return a file of the page, or an answer."""
        answers = self.server.viewer.answers
        file = request.partition("?")[0] or "index.html"
        if file in answers.page:
            return _TYPES[file.rpartition(".")[2]], answers.page[file]
        return answers.get(request)

    def _post(self, request: str) -> tuple[str, bytes]:
        """Run a request that changes the store, after a check that the page itself sent it and of its body."""
        host, origin = self.headers.get("Host") or "", self.headers.get("Origin") or ""
        if origin.partition("://")[2].lower() != host.lower():
            raise _RefusedError(HTTPStatus.FORBIDDEN, "Only the viewer's own page can change the store.")
        if (self.headers.get("Content-Type") or "").partition(";")[0].strip() != "application/json":
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is not application/json.")
        length = self.headers.get("Content-Length") or ""
        if not (
            length.isascii() and length.isdecimal() and len(length) < 9 and int(length) <= MAX_POST_BYTES
        ):
            raise _RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The body has a length of at most {MAX_POST_BYTES} bytes.",
            )
        return self.server.viewer.answers.post(request, self.rfile.read(int(length)))

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        encoding, body = (
            _compress(body, self.headers.get("Accept-Encoding") or "")
            if status == HTTPStatus.OK
            else ("", body)
        )
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self._end_headers()
        self.wfile.write(body)

    def _end_headers(self) -> None:
        """Send the headers that every answer has."""
        for name, value in (
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", self.server.viewer.answers.policy),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: requests do not belong in the user's terminal."""


def _compress(body: bytes, accepted: str) -> tuple[str, bytes]:
    """Return an encoding that the browser accepts and the compressed body; "" and the same body if it is small."""
    names = {encoding.partition(";")[0].strip() for encoding in accepted.split(",")}
    if len(body) < 1024:
        return "", body
    if "zstd" in names:
        from numcodecs import zstd  # type: ignore[import-untyped]

        return "zstd", bytes(zstd.Zstd(level=1).encode(body))
    if "gzip" in names:
        return "gzip", gzip.compress(body, 1)
    return "", body


def _answers(node: NGFFNode, viewer: str, edit: bool) -> Answers | NeuroglancerAnswers:
    """Return the answers of a viewer; raise InvalidArgumentError for an unknown name, or one that cannot edit."""
    if viewer == "lamella":
        return Answers(node, editable=edit)
    if viewer != "neuroglancer":
        raise InvalidArgumentError(
            f"There is no viewer {viewer!r}: the viewers are lamella and neuroglancer."
        )
    if edit:
        raise InvalidArgumentError("The viewer neuroglancer only reads. Leave out edit, or neuroglancer.")
    return NeuroglancerAnswers(node)


def view(
    target: NGFFNode | StrPath,
    *,
    port: int = 0,
    browser: bool = True,
    allow_hosts: Sequence[str] = (),
    edit: bool = False,
    viewer: Literal["lamella", "neuroglancer"] = "lamella",
    storage_options: Mapping[str, Any] | None = None,
) -> Viewer:
    """Show an image or a plate in the browser.

    Parameters
    ----------
    target
        A node, or the path or URL of a store. A node stays open, and must stay open while it is viewed.
    port
        Port on 127.0.0.1; a free one by default.
    browser
        Open the page in the default browser.
    allow_hosts
        Names under which a proxy may serve the page, besides those of this machine.
    edit
        Let the page save the contrast of channels into the store. A node must be open for writing.
    viewer
        The page: lamella's own, or neuroglancer's, which shows one image with all its channels and labels in planes
        and in 3-D.
    storage_options
        Options of a URL, as in :func:`lamella.open_ome_zarr`.

    Returns
    -------
    Viewer
        A handle with `url` and `close()`; also a context manager. It runs on threads of this process.

    Raises
    ------
    InvalidArgumentError
        If neuroglancer is asked for something other than one image (a ValueError).
    MetadataError
        If there is nothing to show.
    MissingDependencyError
        If neuroglancer is not installed (an ImportError): ``pip install "lamella[neuroglancer]"``.
    ReadOnlyError
        If the page may edit, and the store is open for reading.
    OSError
        If the port is in use.

    Examples
    --------
    >>> import lamella
    >>> with lamella.view(plate, browser=False) as viewer:
    ...     viewer.url.startswith("http://127.0.0.1:")
    True
    """
    from lamella.nodes.node import NGFFNode
    from lamella.nodes.open import open_ome_zarr

    if isinstance(target, NGFFNode):
        handle = Viewer(target, port=port, allow_hosts=allow_hosts, edit=edit, viewer=viewer)
    else:
        node = open_ome_zarr(target, mode="r+" if edit else "r", storage_options=storage_options)
        try:
            handle = Viewer(
                node, port=port, allow_hosts=allow_hosts, edit=edit, viewer=viewer, node_to_close=node
            )
        except BaseException:
            node.close()
            raise
    if browser:
        webbrowser.open(handle.url)
    return handle
