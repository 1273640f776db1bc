"""Servers on loopback that behave as Azure and Google do; `make test-emulators` installs and names them."""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import subprocess
import sys
from base64 import b64decode, b64encode
from email.utils import formatdate
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
from tests.remote import forget_file_systems

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account and the key of every azurite, which are public."""


# Read when gcsfs is imported. Else it asks by gRPC what kind of bucket it is, which the emulator does not answer.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


def _emulators() -> str:
    """Return the folder of the emulators; skip where `make test` runs without them, and never where they were named."""
    folder = os.environ.get("LAMELLA_EMULATORS")
    if not folder:
        pytest.skip(
            "LAMELLA_EMULATORS is not set: make test-emulators installs azurite and gcp-storage-emulator"
        )
    return folder


def signed(text: str) -> str:
    """Return the signature of the account."""
    return b64encode(hmac.new(b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()


class Container:
    """A container where nothing is, of azurite or of the server of the suite.

    Attributes
    ----------
    endpoint
        URL of the account.
    name
        Name of the container.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint, self.name = endpoint, f"box{uuid4().hex[:8]}"

    def create(self, access: str = "") -> Container:
        """Create it in azurite; for everybody to read with an access such as "container"."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        if access:
            headers = {"x-ms-blob-public-access": access, **headers}
        lines = [f"{key}:{value}" for key, value in headers.items()]
        resource = [f"/{ACCOUNT}/{ACCOUNT}/{self.name}", "restype:container"]
        text = "\n".join(["PUT", *[""] * 11, *lines, *resource])
        headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signed(text)}", "Content-Length": "0"}
        url = f"{self.endpoint}/{self.name}?restype=container"
        urlopen(Request(url, method="PUT", headers=headers)).close()
        return self

    def url(self, path: str) -> str:
        """Return the URL of a path in the container."""
        return f"az://{self.name}/{path}"

    @property
    def options(self) -> dict[str, Any]:
        """Options with the key of the account."""
        return {"account_name": ACCOUNT, "account_key": KEY, "endpoint_url": self.endpoint}

    def signature(self, permissions: str) -> str:
        """Return a shared access signature (SAS) of the container, with permissions such as "rl"."""
        version, ends = "2020-12-06", "2099-01-01T00:00:00Z"
        resource = f"/blob/{ACCOUNT}/{self.name}"
        fields = [permissions, "", ends, resource, "", "", "", version, "c", *[""] * 7]
        signature = signed("\n".join(fields)).replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
        return f"sp={permissions}&se={ends.replace(':', '%3A')}&sv={version}&sr=c&sig={signature}"


@pytest.fixture(scope="session")
def azurite():
    """URL of the account of a running azurite."""
    program = os.path.join(_emulators(), "node_modules", ".bin", "azurite-blob")
    words = ["--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    with subprocess.Popen(
        [program, *words, "--blobHost", "127.0.0.1", "--blobPort", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Node from PyPI is a program that starts another one
    ) as process:
        try:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "successfully listens on" in line:
                    break
            else:
                pytest.fail(f"azurite did not start: {''.join(lines)}")
            yield f"{line.split()[-1]}/{ACCOUNT}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)


@pytest.fixture(params=["service", "azurite"])
def container(request):
    """A container of each server, which must behave alike."""
    if request.param == "azurite":
        return Container(request.getfixturevalue("azurite")).create()
    return Container(f"{request.getfixturevalue('service').endpoint}/{ACCOUNT}")


@pytest.fixture
def private_container(azurite):
    """A container of azurite, which checks keys."""
    return Container(azurite).create()


@pytest.fixture
def public_container(azurite):
    """A container that everybody may read and list."""
    return Container(azurite).create("container")


_GOOGLE = """
import sys
from gcp_storage_emulator.server import create_server
with create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket") as server:
    print(server._api._httpd.server_address[1], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="session")
def google_server():
    """URL of a running gcp-storage-emulator, which has a bucket named "bucket"; it ends with its standard input."""
    _emulators()
    import gcsfs  # noqa: F401  what is named is not skipped in silence

    with subprocess.Popen(
        [sys.executable, "-c", _GOOGLE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        port = process.stdout.readline().strip()
        assert port, "gcp-storage-emulator did not start"
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def google(google_server):
    """The same, without file systems opened before."""
    yield google_server
    forget_file_systems()
