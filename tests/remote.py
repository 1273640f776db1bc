"""Stores at URLs on loopback: an S3-compatible server, and a server of our own that fails on demand and counts.

`Service` keeps bytes under paths such as ``/bucket/plate.zarr/zarr.json`` and answers as a web server, as S3, as
Google's XML interface and as Azure (`azure_blobs`), with paths in the URL: GET and HEAD with ranges and If-None-Match,
PUT with If-Match and If-None-Match, copies, DELETE, bulk deletion, and lists. What goes wrong is asked for with
`Service.fail`. The fixtures of it are in ``tests/conftest.py``: ``service`` and ``s3``.

Used by tests and by ``torture``; knows nothing of lamella but how a storage is opened (`object_storage`).
"""

from __future__ import annotations

import gc
import gzip
import hashlib
import os
import re
import socket
import struct
import threading
import time
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import Request, urlopen
from xml.sax.saxutils import escape

from tests.azure_blobs import CODES, AzureAnswers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: What makes every library for S3 ask a server on loopback and nobody else, with keys that open nothing elsewhere.
KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_ALLOW_HTTP": "true",
    "AWS_MAX_ATTEMPTS": "1",
}


def aim_at(monkeypatch: Any, endpoint: str) -> None:
    """Have all libraries for S3 ask this server: by the environment, and without file systems opened before."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    for name in (
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    forget_file_systems()


def forget_file_systems() -> None:
    """Close and drop fsspec's file systems: they remember endpoints, connections and listings beyond a test."""
    from fsspec import asyn
    from fsspec.implementations.http import HTTPFileSystem
    from s3fs import S3FileSystem
    from zarr.core.sync import sync

    kinds = (HTTPFileSystem, *HTTPFileSystem.__subclasses__(), S3FileSystem)
    opened = [file_system for kind in kinds for file_system in kind._cache.values()]
    for file_system in opened:
        try:
            sync(_closed(file_system))
        except RuntimeError:  # it was used in the event loop of fsspec, below an archive
            asyn.sync(asyn.get_loop(), _closed, file_system)
    for kind in kinds:
        kind.clear_instance_cache()
    if not opened:
        return
    del opened
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # s3fs leaves connections when it begins new ones
        gc.collect()
    gc.freeze()  # the next collection looks at what came since: a tenth of a second each, otherwise


async def _closed(file_system: Any) -> None:
    session = getattr(file_system, "_session", None)
    if session is not None:
        await session.close()
    client = getattr(file_system, "_s3", None)
    if client is not None:
        await client.close()


@dataclass
class Fault:
    """Something that goes wrong: at which requests, how, and how often.

    ``kind`` is a status such as 403, or "reset" (the connection is cut), "short" (half of the body comes), "less" (half
    of it comes, and the answer says that this is all), "late" (nothing comes until the service stops, or the client
    gives up), or "lost" (the request is done, and the connection is cut in the place of an answer). ``code`` is what S3
    calls the error.
    """

    kind: int | str
    method: str = "GET"
    path: str = ""
    times: int | None = None
    code: str = ""
    after: int = 0
    seen: int = 0


class Service:
    """A server on 127.0.0.1 that counts requests; use it in a ``with`` statement.

    Attributes
    ----------
    objects
        Bytes by path, ``"/bucket/image.zarr/zarr.json"``; may be filled and looked at directly.
    requests
        ``(method, path)`` of every request; a LIST of S3 is ``("LIST", "/bucket/prefix")``.
    lists
        Whether keys can be listed as S3 does; otherwise a LIST is 403.
    ranges
        Whether the Range header is heard; otherwise the whole body comes with 200.
    absent
        Status of what is not there: 404, or 403 as S3 says it to those who may not list.
    pages
        Whether a folder has an HTML page with links, as many web servers do.
    unknown_page
        Whether every path that is not there has an HTML page with status 200.
    loses
        Paths that hold this are written with success, and are not there afterwards; empty for none.
    keeps
        Keys that hold this are not deleted: a bulk deletion names them in an answer with status 200, as S3 does.
    wants
        Headers that a request must have, or else it is 403; "query" is what must stand behind the ``?``.
    conditions
        Whether writes hear If-Match and If-None-Match.
    lacks
        Headers that no answer has.
    lengths
        Whether answers with a body say how long it is; otherwise they come in pieces until the connection ends.
    gzipped
        Whether bodies come compressed, without having been asked for.
    before
        Called with method and path before each request is answered; what it returns is called once, as what another
        program does meanwhile.
    spoil
        How many more times the bytes of a path come with their bits flipped.
    latency
        Seconds before each answer.
    spans
        When each request came and was answered.
    sent
        How many bytes of bodies were answered.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.lists = True
        self.ranges = True
        self.absent = 404
        self.pages = False
        self.unknown_page = False
        self.loses = ""
        self.keeps = ""
        self.wants: dict[str, str] = {}
        self.conditions = True
        self.lacks: tuple[str, ...] = ()
        self.metadata: dict[str, dict[str, str]] = {}
        self.writes: Counter[str] = Counter()
        self.blocks: dict[tuple[str, str], bytes] = {}
        self.lengths = True
        self.gzipped = False
        self.before: Callable[[str, str], Callable[[], object] | None] | None = None
        self.spoil: dict[str, int] = {}
        self.latency = 0.0
        self.spans: list[tuple[float, float]] = []
        self.sent = 0
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.stopped = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.service = self

    @property
    def endpoint(self) -> str:
        """URL of the server, without a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Service:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def put_folder(self, folder: str | os.PathLike[str], path: str) -> None:
        """Fill in the files of a local folder below a path, ``"/bucket/image.zarr"``."""
        root = os.fspath(folder)
        for above, _, names in os.walk(root):
            for name in names:
                file = os.path.join(above, name)
                with open(file, "rb") as stream:
                    self.objects[f"{path}/{os.path.relpath(file, root)}"] = stream.read()

    def etag(self, key: str, data: bytes) -> str:
        """Return the ETag of Azure, which is another one for each write."""
        return f'"0x{hashlib.md5(data + b"%d" % self.writes[key], usedforsecurity=False).hexdigest()[:15].upper()}"'

    def store(self, key: str, data: bytes, metadata: Mapping[str, str]) -> str:
        """Write an object as Azure does; return its ETag."""
        self.writes[key] += 1
        if not (self.loses and self.loses in key):
            self.objects[key], self.metadata[key] = data, dict(metadata)
        return self.etag(key, data)

    def fail(
        self,
        kind: int | str,
        *,
        method: str = "GET",
        path: str = "",
        times: int | None = None,
        code: str = "",
        after: int = 0,
    ) -> Fault:
        """Make requests go wrong whose method and path (a regular expression, searched) fit; all, or the next few.

        The first ones, `after`, go well.
        """
        fault = Fault(kind, method, path, times, code, after)
        self.faults.append(fault)
        return fault

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self.faults.clear()

    def counts(self) -> Counter[str]:
        """Return how many requests of each method came."""
        return Counter(method for method, _ in self.requests)

    def fault_of(self, method: str, path: str) -> Fault | None:
        """Return what goes wrong with a request, and count it."""
        with self.lock:
            for fault in self.faults:
                if fault.method in (method, "*") and re.search(fault.path, path):
                    if fault.after:
                        fault.after -= 1
                        continue
                    if fault.times is not None and fault.seen >= fault.times:
                        continue
                    fault.seen += 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    service: Service

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are what is tested."""


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _generation(data: bytes | None) -> str:
    """Return the number by which Google tells contents apart; 0 where there is none."""
    return (
        "0" if data is None else str(int(hashlib.md5(data, usedforsecurity=False).hexdigest()[:12], 16) + 1)
    )


class _Handler(AzureAnswers, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer is sent at once, not its headers before its body
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def handle_expect_100(self) -> bool:
        """Send the permission at once: the client waits for it before it sends the body."""
        is_permitted = super().handle_expect_100()
        self.wfile.flush()
        return is_permitted

    @property
    def service(self) -> Service:  # type: ignore[override]
        return self.server.service

    lost = cut = less = False

    def _begin(self) -> bool:
        """Note the request, and let go wrong what should; False where it is answered."""
        self.began = time.monotonic()
        if self.service.latency:
            time.sleep(self.service.latency)
        parts = urlsplit(self.path)
        self.key = unquote(parts.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query, True).items()}
        self.body = self._read_body()
        name = self.command
        if name == "GET" and self._is_list():
            name, shown = "LIST", f"{self.key.rstrip('/')}/{self.query.get('prefix', '')}"
        else:
            shown = self.key
        with self.service.lock:
            self.service.requests.append((name, shown))
            meanwhile = self.service.before and self.service.before(name, shown)
            if meanwhile:
                self.service.before = None
        if meanwhile:
            meanwhile()
        wants = self.service.wants.items()
        if any(
            self.headers.get(name, parts.query if name == "query" else None) != one for name, one in wants
        ):
            self.cut = False
            self._refuse(403)
            return False
        if self.is_azure and not self.is_permitted:
            self._refuse(403, "AuthorizationPermissionMismatch")
            return False
        fault = self.service.fault_of(name, shown)
        self.lost = fault is not None and fault.kind == "lost"
        if self.lost:
            return True
        self.cut = fault is not None and fault.kind == "short"
        self.less = fault is not None and fault.kind == "less"
        if fault is None or self.cut or self.less:
            return True
        if fault.kind == "late":
            self.service.stopped.wait()
        if isinstance(fault.kind, int):
            self._refuse(fault.kind, fault.code)
        else:
            self._reset()
        return False

    def _is_list(self) -> bool:
        return self.lists_blobs or self.query.get("list-type") == "2" or "location" in self.query

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return data
        whole = b""
        while True:
            line, _, data = data.partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            if not size:
                return whole
            whole, data = whole + data[:size], data[size + 2 :]

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _refuse(self, status: int, code: str = "") -> None:
        names = {401: "Unauthorized", 403: "AccessDenied", 404: "NoSuchKey", 412: "PreconditionFailed",
                 429: "TooManyRequests", 503: "SlowDown", 304: "NotModified", 416: "InvalidRange"}  # fmt: skip
        code = code or (CODES if self.is_azure else names).get(status, "InternalError")
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
        self._answer(status, b"" if status == 304 else body.encode(), {"Content-Type": "application/xml"})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        if self.lost:
            self._reset()
            return
        sent = {"Content-Length": str(len(body)), **(headers or {})}
        if self.less and status in (200, 206):
            body = body[: len(body) // 2]
            sent["Content-Length"] = str(len(body))
        if self.service.gzipped and status == 200:
            body = gzip.compress(body)
            sent |= {"Content-Encoding": "gzip", "Content-Length": str(len(body))}
        if not self.service.lengths and status == 200:
            sent |= {"Connection": "close"}
            del sent["Content-Length"]
        self.service.spans.append((self.began, time.monotonic()))
        self.send_response(status)
        for name, value in sent.items():
            if name not in self.service.lacks:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.service.sent += len(body)
        if self.cut:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def do_GET(self) -> None:
        if not self._begin():
            return
        data = self.service.objects.get(self.key)
        if self._is_list():
            (self.list_blobs if self.lists_blobs else self._list)()
        elif data is None:
            self._missing()
        else:
            self._get(data)

    def _get(self, data: bytes) -> None:
        with self.service.lock:
            if self.command == "GET" and self.service.spoil.get(self.key, 0):
                self.service.spoil[self.key] -= 1
                data = bytes(255 - byte for byte in data)
        tag = self.service.etag(self.key, data) if self.is_azure else _etag(data)
        headers = {"ETag": tag, "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        headers |= self.service.metadata.get(self.key, {}) | {"x-goog-generation": _generation(data)}
        if self.headers.get("If-None-Match") == headers["ETag"]:
            self._answer(304, b"", headers)
            return
        asked = self.headers.get("If-Match")
        if asked not in (None, headers["ETag"]):
            self._refuse(412)
            return
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if span is None or not self.service.ranges:
            accepts = {"Accept-Ranges": "bytes"} if self.service.ranges else {}
            self._answer(200, data, headers | accepts | {"Content-Length": str(len(data))})
            return
        first, last = span.groups()
        start = int(first) if first else max(0, len(data) - int(last))
        end = min(len(data), int(last) + 1) if first and last else len(data)
        if start >= len(data):
            self._refuse(416)
            return
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        self._answer(206, data[start:end], headers | {"Content-Length": str(end - start)})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _missing(self) -> None:
        folder = self.key.rstrip("/") + "/"
        below = sorted(
            {k.removeprefix(folder).split("/")[0] for k in self.service.objects if k.startswith(folder)}
        )
        if self.service.pages and below:
            page = "".join(f'<a href="{name}">{name}</a>' for name in below)
        elif self.service.unknown_page:
            page = "<html><body>Nothing here, but a nice page.</body></html>"
        else:
            self._refuse(self.service.absent)
            return
        self._answer(200, page.encode(), {"Content-Type": "text/html"})

    def do_PUT(self) -> None:
        if not self._begin():
            return
        with self.service.lock:
            if self.is_azure:
                self.put_blob()
                return
            now = self.service.objects.get(self.key)
            is_new = self.headers.get("If-None-Match") == "*"
            is_other = self.headers.get("If-Match") not in (None, now and _etag(now))
            is_other |= self.headers.get("x-goog-if-generation-match") not in (None, _generation(now))
            if self.service.conditions and (is_other or (is_new and now is not None)):
                self._refuse(412)
                return
            source = self.headers.get("x-amz-copy-source") or self.headers.get("x-goog-copy-source")
            if source is not None:
                data = self.service.objects.get("/" + unquote(source).lstrip("/"))
                if data is None:
                    self._refuse(404)
                    return
                if not (self.service.loses and self.service.loses in self.key):
                    self.service.objects[self.key] = data
                body = f"<CopyObjectResult><ETag>{_etag(data)}</ETag></CopyObjectResult>"
                self._answer(200, body.encode(), {"Content-Type": "application/xml"})
                return
            marks = [name.lower().split("-meta-")[1] for name in self.headers if "-meta-" in name.lower()]
            if not all(name.isidentifier() for name in marks):  # some services take no others
                self._refuse(400, "InvalidMetadata")
                return
            if not (self.service.loses and self.service.loses in self.key):
                self.service.objects[self.key] = self.body
                own = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower().startswith(("x-amz-meta-", "x-goog-meta-"))
                }
                self.service.metadata[self.key] = own
        self._answer(200, b"", {"ETag": _etag(self.body), "x-goog-generation": _generation(self.body)})

    def do_POST(self) -> None:
        if not self._begin():
            return
        if self.is_azure:
            self.delete_batch()
            return
        keys = map(unescape, re.findall(r"<Key>(.*?)</Key>", self.body.decode()))
        done = []
        for key in keys if "delete" in self.query else ():
            if self.service.keeps and self.service.keeps in key:
                done.append(
                    f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
                )
                continue
            self.service.objects.pop(f"{self.key.rstrip('/')}/{key}", None)
            done.append(f"<Deleted><Key>{escape(key)}</Key></Deleted>")
        self._answer(
            200, f"<DeleteResult>{''.join(done)}</DeleteResult>".encode(), {"Content-Type": "application/xml"}
        )

    def do_DELETE(self) -> None:
        if self._begin():
            if self.service.keeps and self.service.keeps in self.key:
                self._refuse(403)
                return
            self.service.objects.pop(self.key, None)
            self._answer(204, b"")

    def _list(self) -> None:
        if not self.service.lists:
            self._refuse(403)
            return
        bucket = self.key.rstrip("/") + "/"
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        after = self.query.get("continuation-token") or self.query.get("start-after", "")
        most = int(self.query.get("max-keys", 1000))
        entries: dict[str, str] = {}
        with self.service.lock:
            keys = sorted(
                k.removeprefix(bucket) for k in self.service.objects if k.startswith(bucket + prefix)
            )
            for key in keys:
                head, found, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
                if found:
                    name = prefix + head + delimiter
                    entries[name] = f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
                    continue
                data = self.service.objects[bucket + key]
                entries[key] = (
                    f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                    f"<ETag>{escape(_etag(data))}</ETag><Size>{len(data)}</Size>"
                    "<StorageClass>STANDARD</StorageClass></Contents>"
                )
        names = [name for name in sorted(entries) if name > after]
        page, cut = names[:most], len(names) > most
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if cut else ""
        body = (
            f"<?xml version='1.0'?><ListBucketResult><Name>{bucket.strip('/')}</Name>"
            f"<Prefix>{escape(prefix)}</Prefix><MaxKeys>{most}</MaxKeys><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(cut).lower()}</IsTruncated>{token}{''.join(entries[name] for name in page)}"
            "</ListBucketResult>"
        )
        self._answer(200, body.encode(), {"Content-Type": "application/xml"})


def object_storage(endpoint: str, url: str, **options: Any) -> Any:
    """Return the storage of a URL at a server on loopback; `options` are those of a client of obstore."""
    from lamella.store.objects.credentials import resolve
    from lamella.store.objects.object_storage import ObjectStorage

    keys = {"key": "testing", "secret": "testing", "endpoint_url": endpoint}
    resolved = resolve(url, {} if url.startswith("http") else keys, {})
    waits = {"init_backoff": timedelta(seconds=0.01), "max_backoff": timedelta(seconds=0.02), "base": 2}
    retry = {**resolved.retry_config, "max_retries": 2, "backoff": waits}
    return ObjectStorage(
        replace(resolved, retry_config=retry, client_options={**resolved.client_options, **options})
    )


class Bucket:
    """A bucket of its own in a server that does all of S3 right (moto).

    Attributes
    ----------
    name
        Its name; no two tests have the same.
    client
        A client of boto3.
    """

    def __init__(self, endpoint: str, name: str) -> None:
        import boto3

        self.endpoint, self.name = endpoint, name
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        self.client.create_bucket(Bucket=name)

    def url(self, key: str) -> str:
        """Return the URL of a key."""
        return f"s3://{self.name}/{key}"

    def discard(self) -> None:
        """Make the server forget all its buckets, with their keys."""
        urlopen(Request(f"{self.endpoint}/moto-api/reset", method="POST")).close()
        self.client.close()

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Return the bytes of all keys that begin so."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return {key: self.client.get_object(Bucket=self.name, Key=key)["Body"].read() for key in keys}

    def put(self, key: str, data: bytes) -> None:
        """Write a key."""
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def put_folder(self, folder: str | os.PathLike[str], prefix: str) -> None:
        """Write the files of a local folder below a prefix, ``"image.zarr"``."""
        root = os.fspath(folder)
        for above, _, names in os.walk(root):
            for name in names:
                file = os.path.join(above, name)
                with open(file, "rb") as stream:
                    self.put(f"{prefix}/{os.path.relpath(file, root)}", stream.read())
