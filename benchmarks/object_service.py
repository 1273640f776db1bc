"""Serve a folder as an S3-compatible store that answers each request after a latency, with little processor time.

    python benchmarks/object_service.py FOLDER [--latency MS]

The bucket is named ``bucket`` and contains the folder under its own name. The service answers GET and HEAD, with ranges
and conditions, and lists keys; nothing can be written. It reads all files into memory, prints its URL, and serves until
its standard input ends. Then it prints how many requests came and the processor seconds that they cost, as JSON.

The service of the tests (`tests/remote.py`) can do more, but each of its requests costs about 0.4 ms of a core, which
the program that is measured does not get on a small machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import re
import subprocess
import sys
import time
from bisect import bisect_left, bisect_right
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "/bucket/"
REASONS = {200: b"OK", 206: b"Partial Content", 304: b"Not Modified", 404: b"Not Found", 405: b"Method Not Allowed",
           412: b"Precondition Failed", 416: b"Range Not Satisfiable"}  # fmt: skip
CODES = {404: "NoSuchKey", 405: "MethodNotAllowed", 412: "PreconditionFailed", 416: "InvalidRange"}
CHANGED = b"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
_HEADER = re.compile(rb"\r\n(range|if-match|if-none-match): *([^\r]*)", re.IGNORECASE)
_RANGE = re.compile(rb"bytes=(\d*)-(\d*)")


class Bucket:
    """The files of a folder by key, in memory, and how many requests for them came."""

    def __init__(self, folder: str) -> None:
        self.objects: dict[str, tuple[bytes, bytes]] = {}
        self.requests = 0
        root = os.path.dirname(os.path.abspath(folder))
        for folder_path, _, names in os.walk(os.path.abspath(folder)):
            for name in names:
                file = os.path.join(folder_path, name)
                with open(file, "rb") as stream:
                    data = stream.read()
                etag = b'"%x-%x"' % (os.stat(file).st_mtime_ns, len(data))
                self.objects[os.path.relpath(file, root).replace(os.sep, "/")] = data, etag
        self.keys = sorted(self.objects)

    def answer(self, head: bytes) -> bytes:
        """Return the answer to the head of a request, with its body."""
        line, _, _ = head.partition(b"\r\n")
        method, target, _ = line.split(b" ")
        path, _, query = target.decode("ascii").partition("?")
        if method not in (b"GET", b"HEAD"):
            return refused(405)
        if "list-type=2" in query:
            return answered(200, self.listing(query), b"Content-Type: application/xml\r\n")
        key = (unquote(path) if "%" in path else path).removeprefix(BUCKET)
        data, etag = self.objects.get(key, (b"", b""))
        if not etag:
            answer = refused(404)
        elif b"ange:" in head or b"atch:" in head:  # few requests have a range or a condition
            answer = conditional(head, data, etag)
        else:
            answer = answered(200, data, tags(etag))
        return answer[: answer.index(b"\r\n\r\n") + 4] if method == b"HEAD" else answer

    def listing(self, query: str) -> bytes:
        """Return a page of the keys that begin with a prefix, those behind a delimiter as one prefix."""
        options = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
        prefix, delimiter = options.get("prefix", ""), options.get("delimiter", "")
        start_after = options.get("continuation-token") or options.get("start-after", "")
        max_keys = int(options.get("max-keys", 1000))
        index = max(
            bisect_left(self.keys, prefix), bisect_right(self.keys, start_after) if start_after else 0
        )
        entries: list[str] = []
        last = ""
        while index < len(self.keys) and self.keys[index].startswith(prefix) and len(entries) < max_keys:
            key = self.keys[index]
            next_part, slash, _ = (
                key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
            )
            if slash:
                last = prefix + next_part + delimiter
                index = bisect_left(self.keys, last[:-1] + chr(ord(last[-1]) + 1))
                if last > start_after:  # else a page before contains it
                    entries.append(f"<CommonPrefixes><Prefix>{escape(last)}</Prefix></CommonPrefixes>")
                continue
            last, index = key, index + 1
            data, etag = self.objects[key]
            entries.append(
                f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>{escape(etag.decode())}</ETag><Size>{len(data)}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
            )
        is_truncated = index < len(self.keys) and self.keys[index].startswith(prefix)
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if is_truncated else ""
        return (
            f"<?xml version='1.0'?><ListBucketResult><Name>{BUCKET.strip('/')}</Name>"
            f"<Prefix>{escape(prefix)}</Prefix><MaxKeys>{max_keys}</MaxKeys><KeyCount>{len(entries)}</KeyCount>"
            f"<IsTruncated>{str(is_truncated).lower()}</IsTruncated>{token}{''.join(entries)}</ListBucketResult>"
        ).encode()


def tags(etag: bytes) -> bytes:
    """Return the headers of an object."""
    return b"ETag: %b\r\nAccept-Ranges: bytes\r\n%b" % (etag, CHANGED)


def answered(status: int, body: bytes, headers: bytes = b"") -> bytes:
    """Return an answer: its head and its body."""
    return b"HTTP/1.1 %d %b\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status, REASONS[status], len(body), headers, body,
    )  # fmt: skip


def refused(status: int) -> bytes:
    """Return an error as S3 writes it."""
    text = (
        f"<?xml version='1.0'?><Error><Code>{CODES[status]}</Code><Message>{CODES[status]}</Message></Error>"
    )
    return answered(status, text.encode(), b"Content-Type: application/xml\r\n")


def conditional(head: bytes, data: bytes, etag: bytes) -> bytes:
    """Return the answer to a request for a range, or with a condition."""
    headers = {name.lower(): value.strip() for name, value in _HEADER.findall(head)}
    if headers.get(b"if-none-match") == etag:
        return b"HTTP/1.1 304 Not Modified\r\n%b\r\n" % tags(etag)
    if headers.get(b"if-match", etag) != etag:
        return refused(412)
    range_match = _RANGE.fullmatch(headers.get(b"range", b""))
    if range_match is None:
        return answered(200, data, tags(etag))
    first, last = range_match.groups()
    start = int(first) if first else max(0, len(data) - int(last))
    end = min(len(data), int(last) + 1) if first and last else len(data)
    if start >= len(data):
        return refused(416)
    content_range = b"Content-Range: bytes %d-%d/%d\r\n" % (start, end - 1, len(data))
    return answered(206, data[start:end], content_range + tags(etag))


class Connection(asyncio.Protocol):
    """A connection of a client, which sends one request after the other."""

    transport: asyncio.Transport

    def __init__(self, bucket: Bucket, latency: float) -> None:
        self.bucket, self.latency = bucket, latency
        self.loop = asyncio.get_running_loop()
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            self.bucket.requests += 1
            self.loop.call_later(self.latency, self.send, head)

    def send(self, head: bytes) -> None:
        """Answer a request; a client that has hung up gets nothing."""
        if not self.transport.is_closing():
            self.transport.write(self.bucket.answer(head))


async def serve(folder: str, latency: float) -> None:
    """Serve until the standard input ends, and print what that cost."""
    loop = asyncio.get_running_loop()
    bucket = Bucket(folder)
    gc.freeze()
    server = await loop.create_server(lambda: Connection(bucket, latency), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    cpu_start = time.process_time()
    await loop.run_in_executor(None, sys.stdin.read)
    print(json.dumps({"requests": bucket.requests, "seconds": time.process_time() - cpu_start}))
    server.close()


@dataclass
class Running:
    """A service that runs: its URL, and what it had to do, which is known after its end."""

    endpoint: str
    requests: int = 0
    seconds: float = 0.0


@contextmanager
def object_service(folder: str | os.PathLike[str], latency: float) -> Iterator[Running]:
    """Run the service in a process of its own; the latency is in seconds."""
    command = [sys.executable, __file__, os.fspath(folder), "--latency", str(latency * 1000)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        running = Running(process.stdout.readline().strip())
        try:
            yield running
        finally:
            process.stdin.close()
            figures = json.loads(process.stdout.read())
            running.requests, running.seconds = figures["requests"], figures["seconds"]


def main() -> None:
    """Serve a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--latency", type=float, default=20, help="milliseconds before each answer")
    args = parser.parse_args()
    asyncio.run(serve(args.folder, args.latency / 1000))


if __name__ == "__main__":
    main()
