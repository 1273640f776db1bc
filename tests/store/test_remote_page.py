"""What docs/remote.md shows runs, with the servers of its examples on loopback."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import lamella

PAGE = Path(__file__).parents[2] / "docs" / "remote.md"
HOSTS = ("https://minio.example.org", "https://uk1s3.embassy.ebi.ac.uk", "https://lab.example.org")


def test_the_examples_of_the_page_about_urls_run_on_loopback(service, tmp_path, monkeypatch, capsys):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = me\naws_secret_access_key = example\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with lamella.open_ome_zarr(tmp_path / "a.zarr", layout="fov", mode="w", channel_names=["DAPI"]) as image:
        image["0"] = np.ones((1, 1, 1, 8, 8), "u2")
    with lamella.open_ome_zarr(tmp_path / "p.zarr", layout="hcs", mode="w", channel_names=["DAPI"]) as plate:
        plate.create_position("A", "1", "0")["0"] = np.ones((1, 1, 1, 8, 8), "u2")
    service.put_folder(tmp_path / "p.zarr", "/lab-data/plate.zarr")
    service.put_folder(tmp_path / "a.zarr", "/idr/zarr/v0.4/idr0062A/6001240.zarr")
    service.put_folder(tmp_path / "a.zarr", "/plates/cells.zarr")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", service.endpoint)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", service.endpoint)
    page = PAGE.read_text("utf-8").replace("service-account.json", "a-token")
    for host in HOSTS:
        page = page.replace(host, service.endpoint)
    for block in re.findall(r"^```python remote\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), {})
    shown = capsys.readouterr().out
    assert "A/1/0 (1, 1, 1, 8, 8)" in shown
    assert "['DAPI']" in shown
