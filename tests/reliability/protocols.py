"""The ways by which operations reach a service of the suite: the protocols of URLs, and stores of zarr-python.

Used by tests and by ``torture``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.remote import Service

SECRET = "s3cr3tOfTheTests"
"""Part of all credentials; nobody may ever see it."""


@dataclass(frozen=True)
class Protocol:
    """A way to reach a service.

    Attributes
    ----------
    name
        Its name.
    url
        How messages begin to name what is in the bucket.
    target
        Returns what is opened, of the name of a store in the bucket.
    options
        Storage options; may be changed.
    writes
        Whether it can change what is stored.
    is_url
        Whether a URL is opened, and no store of zarr-python.
    """

    name: str
    url: str
    target: Callable[[str], Any]
    options: dict[str, Any] = field(default_factory=dict)
    writes: bool = True
    is_url: bool = True


def _s3(service: Service) -> Protocol:
    return Protocol("s3", "s3://bucket/", lambda name: f"s3://bucket/{name}")


def _google(service: Service) -> Protocol:
    options = {"token": SECRET, "endpoint_url": service.endpoint, "retries": 0}
    return Protocol("gs", "gs://bucket/", lambda name: f"gs://bucket/{name}", options)


def _azure(service: Service) -> Protocol:
    options = {
        "account_name": "account",
        "sas_token": f"sp=racwdl&sv=2023-11-03&sig={SECRET}%3D",
        "endpoint_url": service.endpoint,
        "retries": 0,
    }
    return Protocol("az", "az://bucket/", lambda name: f"az://bucket/{name}", options)


def _web(service: Service) -> Protocol:
    url = f"{service.endpoint}/bucket/"
    return Protocol("http", url, lambda name: f"{url}{name}?sig={SECRET}", {"retries": 0}, writes=False)


def _obstore(service: Service) -> Protocol:
    from obstore.store import S3Store
    from zarr.storage import ObjectStore

    patience: dict[str, Any] = {}

    def target(name: str) -> Any:
        seconds = patience.get("timeout", 30)
        return ObjectStore(
            S3Store(
                "bucket",
                prefix=name,
                endpoint=service.endpoint,
                region="us-east-1",
                access_key_id="testing",
                secret_access_key=SECRET,
                client_options={"allow_http": True, "timeout": timedelta(seconds=seconds)},
                retry_config={"max_retries": 0},
            )
        )

    return Protocol("obstore", "s3://bucket/", target, patience, is_url=False)


def _fsspec(service: Service) -> Protocol:
    from zarr.storage import FsspecStore

    patience: dict[str, Any] = {}

    def target(name: str) -> Any:
        seconds = patience.get("timeout", 30)
        store = FsspecStore.from_url(
            f"s3://bucket/{name}",
            storage_options={
                "key": "testing",
                "secret": SECRET,
                "endpoint_url": service.endpoint,
                "config_kwargs": {"read_timeout": seconds, "retries": {"max_attempts": 0}},
            },
        )
        store.fs.retries = 1
        return store

    return Protocol("fsspec", "s3://bucket/", target, patience, is_url=False)


PROTOCOLS: dict[str, Callable[[Service], Protocol]] = {
    "s3": _s3,
    "gs": _google,
    "az": _azure,
    "http": _web,
    "obstore": _obstore,
    "fsspec": _fsspec,
}
