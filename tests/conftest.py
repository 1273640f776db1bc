"""What the whole suite shares: how hypothesis behaves, the versions, and a look at all bytes of a store."""

from __future__ import annotations

import gc
import os
import signal
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# File systems have slow moments: a law is judged by its result, never by the time of one example.
settings.register_profile(
    "lamella",
    deadline=None,
    max_examples=40,  # of other values in each run
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("lamella")


@pytest.fixture(params=["0.4", "0.5"])
def version(request):
    """Every OME-NGFF version that is written."""
    return request.param


@pytest.fixture
def files():
    """Return a function that gives the bytes of all files below a folder: what a refused call must not change."""

    def look(root):
        return {
            os.path.relpath(os.path.join(folder, name), root): Path(folder, name).read_bytes()
            for folder, _, names in os.walk(root)
            for name in names
        }

    return look


@pytest.fixture(scope="session")
def s3_server():
    """The address of a server on loopback that does all of S3 right; stopped at the end of the run."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    gc.freeze()  # its modules are many
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(s3_server, monkeypatch):
    """An empty bucket in S3, which ``s3://`` URLs reach; see `remote.Bucket`."""
    from tests.remote import Bucket, aim_at, forget_file_systems

    aim_at(monkeypatch, s3_server)
    bucket = Bucket(s3_server, f"bucket-{uuid.uuid4().hex[:12]}")
    yield bucket
    bucket.discard()
    forget_file_systems()


@pytest.fixture
def service(monkeypatch):
    """A web server and S3 that fails on demand and counts requests; ``s3://`` URLs reach it: see `remote.Service`."""
    from tests.remote import Service, aim_at, forget_file_systems

    from lamella.store.objects.object_requests import _supports_conditions

    with Service() as running:
        _supports_conditions.clear()  # a server that has ended may have had the same port
        aim_at(monkeypatch, running.endpoint)
        yield running
        forget_file_systems()


@pytest.fixture
def rounds(monkeypatch):
    """How often requests to object stores waited for each other: see `remote.Rounds`."""
    from tests.rounds import Rounds

    return Rounds(monkeypatch)


# Each client of obstore reads and parses all certificates of the system, for 5 ms of a processor, and the tests make
# thousands of clients for addresses on loopback that need none. This one is nobody's: its key was never written.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "data" / "authority.pem")
os.environ["SSL_CERT_DIR"] = os.devnull

# Run in the background of a shell without job control, a process and its children ignore Ctrl-C; the tests of
# interrupts need what a user at a terminal has.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
