"""``lamella view``: the address that it prints, its options, and how it ends."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import numpy as np
import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import main
from lamella.errors import AccessError


@pytest.fixture
def image(tmp_path):
    """The path of an image."""
    lamella.write_image(tmp_path / "i.zarr", np.ones((8, 8), "uint8"), axes="yx", channels=["a"]).close()
    return tmp_path / "i.zarr"


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(url, host):
    """Return the status of a page under a name of a host."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=60)
    connection.request("GET", address.path, headers={"Host": host})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_the_command_serves_at_the_port_and_names_that_were_asked_for_until_it_is_interrupted(image):
    port = free_port()
    command = [sys.executable, "-m", "lamella", "view", str(image), "--no-browser", "--port", str(port)]
    command += ["--allow-host", "hub.example.org"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"},
    ) as process:
        url, tunnel = process.stdout.readline().strip(), process.stdout.readline()
        assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/[\w-]+/", url)
        assert f"ssh -N -L {port}:127.0.0.1:{port} 6.7.8.9" in tunnel
        assert ask(url, f"127.0.0.1:{port}") == 200
        assert ask(url, "hub.example.org") == 200
        assert ask(url, "elsewhere.example.org") == 403
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_what_cannot_be_viewed_ends_with_one_line(image, tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        run = CliRunner().invoke(main, ["view", str(image), "--no-browser", "--port", port])
        assert f"Port {port} cannot be used" in run.stderr
    for arguments, reason in (
        (["nothing.zarr"], "nothing.zarr"),
        ([str(image), "--with", "neuroglancer", "--edit"], "only reads"),
        ([str(image), "--with", "ndv"], "ndv"),
    ):
        run = CliRunner().invoke(main, ["view", *arguments, "--no-browser"])
        assert run.exit_code != 0
        assert reason in run.stderr
        assert "Traceback" not in run.output

    def refuse(*_, **__):
        raise AccessError("No permission to read the pixels.")

    monkeypatch.setattr("lamella.adapters.viewer.server.Viewer", refuse)
    run = CliRunner().invoke(main, ["view", str(image), "--no-browser"])
    assert run.stderr == "lamella: error: No permission to read the pixels.\n"
