"""What Azure's REST interface of blobs answers, as far as obstore's client uses it: written for `remote.Service`.

Requests of it have the header ``x-ms-version``. Reading is as on the web; here are writes with conditions, blocks,
copies from a URL, batches of deletions, and lists. As Azure does, and S3 does not:

- Each write has another ETag, also of the same bytes.
- A blob that is there, and must not be, is 409, and one that has changed is 412.
- What is not there is 404, also for those who may not list.
- Lists have ETags without quotes.

``tests/emulators`` compares it with azurite.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

CODES = {
    401: "NoAuthenticationInformation",
    403: "AuthorizationFailure",
    404: "BlobNotFound",
    409: "BlobAlreadyExists",
    412: "ConditionNotMet",
    416: "InvalidRange",
    503: "ServerBusy",
}
_XML = {"Content-Type": "application/xml"}
_DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


class AzureAnswers:
    """Answers to Azure's clients; a part of the handler of the server."""

    service: Any
    headers: Any
    command: str
    query: dict[str, str]
    key: str
    body: bytes
    _answer: Any
    _refuse: Any

    @property
    def is_azure(self) -> bool:
        """Whether the request is one of Azure's interface."""
        return "x-ms-version" in self.headers

    @property
    def lists_blobs(self) -> bool:
        """Whether the request is for a list."""
        return self.query.get("comp") == "list"

    @property
    def is_permitted(self) -> bool:
        """Whether a shared access signature, where there is one, has the permission for the request."""
        needed = {"PUT": "w", "DELETE": "d", "POST": "d"}.get(self.command, "l" if self.lists_blobs else "r")
        return needed in self.query.get("sp", needed)

    def put_blob(self) -> None:
        """Write a blob, or one of its blocks, or copy one."""
        if self.query.get("comp") == "block":
            self.service.blocks[self.key, self.query["blockid"]] = self.body
            self._answer(201, b"")
            return
        stored = self.service.objects.get(self.key)
        if self.headers.get("If-None-Match") == "*" and stored is not None:
            self._refuse(409)
            return
        if self.headers.get("If-Match") not in (None, stored and self.service.etag(self.key, stored)):
            self._refuse(412)
            return
        source = self.headers.get("x-ms-copy-source")
        if source is not None:
            self.body = self.service.objects.get(unquote(urlsplit(source).path))
            if self.body is None:
                self._refuse(404)
                return
        elif self.query.get("comp") == "blocklist":
            names = re.findall(r"<(?:Latest|Uncommitted)>(.*?)</", self.body.decode())
            self.body = b"".join(self.service.blocks.pop((self.key, name)) for name in names)
        marks = {name: value for name, value in self.headers.items() if name.lower().startswith("x-ms-meta-")}
        if not all(name.lower().removeprefix("x-ms-meta-").isidentifier() for name in marks):
            self._refuse(400, "InvalidMetadata")
            return
        tag = self.service.store(self.key, self.body, marks)
        copied = {"x-ms-copy-id": "1", "x-ms-copy-status": "success"} if source is not None else {}
        self._answer(202 if copied else 201, b"", {"ETag": tag, "Last-Modified": _DATE, **copied})

    def delete_batch(self) -> None:
        """Delete what the parts of a request name; each has an answer of its own."""
        answers = []
        for number, path in enumerate(re.findall(r"^DELETE (\S+) HTTP", self.body.decode(), re.MULTILINE)):
            key = unquote(urlsplit(path).path)
            if self.service.keeps and self.service.keeps in key:
                line, code = "403 Forbidden", CODES[403]
            elif self.service.objects.pop(key, None) is None:
                line, code = "404 The specified blob does not exist.", CODES[404]
            else:
                line, code = "202 Accepted", ""
            text = f"x-ms-error-code: {code}\r\n" if code else ""
            answers.append(
                "--answers\r\nContent-Type: application/http\r\n"
                f"Content-ID: {number}\r\n\r\nHTTP/1.1 {line}\r\n{text}x-ms-request-id: 1\r\n\r\n"
            )
        body = f"{''.join(answers)}--answers--\r\n".encode()
        self._answer(202, body, {"Content-Type": "multipart/mixed; boundary=answers"})

    def list_blobs(self) -> None:
        """List blobs, and what stands for folders."""
        if not self.service.lists:
            self._refuse(403, "AuthorizationPermissionMismatch")
            return
        container, prefix, delimiter = (
            self.key.rstrip("/") + "/",
            self.query.get("prefix", ""),
            self.query.get("delimiter", ""),
        )
        entries: dict[str, str] = {}
        with self.service.lock:
            stored: Mapping[str, bytes] = self.service.objects
            for path in sorted(key for key in stored if key.startswith(container + prefix)):
                name = path.removeprefix(container)
                head, found, _ = (
                    name.removeprefix(prefix).partition(delimiter) if delimiter else (name, "", "")
                )
                if found:
                    folder = escape(prefix + head + delimiter)
                    entries[prefix + head + delimiter] = f"<BlobPrefix><Name>{folder}</Name></BlobPrefix>"
                    continue
                entries[name] = (
                    f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>{_DATE}</Last-Modified>"
                    f"<Etag>{self.service.etag(path, stored[path]).strip(chr(34))}</Etag>"
                    f"<Content-Length>{len(stored[path])}</Content-Length>"
                    "<Content-Type>application/octet-stream</Content-Type><BlobType>BlockBlob</BlobType>"
                    "</Properties></Blob>"
                )
        most = int(self.query.get("maxresults", 5000))
        names = [name for name in sorted(entries) if name >= self.query.get("marker", "")]
        following = (
            f"<NextMarker>{escape(names[most])}</NextMarker>" if len(names) > most else "<NextMarker />"
        )
        body = (
            f"<?xml version='1.0'?><EnumerationResults><Prefix>{escape(prefix)}</Prefix>"
            f"<Blobs>{''.join(entries[name] for name in names[:most])}</Blobs>{following}</EnumerationResults>"
        )
        self._answer(200, body.encode(), _XML)
