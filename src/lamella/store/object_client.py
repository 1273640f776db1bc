"""The connection to one object store: which bucket and prefix a URL names, and how often a request is tried.

A request that is not answered, or answered 429 or 5xx, is sent again by obstore: 6 times, after 100 ms to 5 s, within
60 s in all. Writes under a condition are sent again by us (`ObjectRequests.put_if`): where the answer to the first one
was lost, the second one is refused because the first one succeeded, and only who knows that it was the second can tell.

obstore must not be used in a process that was forked after its parent used it: its threads are not there, and every
request waits for ever. `check_process` raises instead.

Imports obstore inside functions.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lamella.errors import StorageError
from lamella.store.addresses import clean_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lamella.store.credentials import Resolved

RETRIES = 6
"""How often a request is sent again."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
"""Seconds before the first and any later time; they double."""
PATIENCE = 60.0
"""Seconds after which no request is sent again."""

_TIMEOUTS = {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "10m"}
"""A connection, any single part of an answer, and a whole answer: large objects take long on slow lines."""

_used_in: list[int] = []
"""The process that used obstore first."""


def check_process(where: str) -> None:
    """Raise in a process that was forked after its parent used obstore, where every request would wait for ever."""
    process = os.getpid()
    if not _used_in:
        _used_in.append(process)
    elif _used_in[0] != process:
        raise StorageError(
            f"Cannot use {where} in a process that was forked after its parent used an object store: the connections "
            "do not survive a fork. Start workers with the method 'spawn' or 'forkserver', as in "
            "multiprocessing.get_context('forkserver') or DataLoader(multiprocessing_context='forkserver')."
        )


def split_url(url: str) -> tuple[str, str]:
    """Return the bucket and the prefix that a URL of an object store names.

    >>> split_url("s3://bucket/plates/a b.zarr/"), split_url("abfss://box@me.dfs.core.windows.net/a.zarr")
    (('bucket', 'plates/a b.zarr'), ('box', 'a.zarr'))
    """
    bucket, _, prefix = url.partition("://")[2].partition("/")
    return bucket.partition("@")[0], prefix.strip("/")


class ObjectClient:
    """The connection to one store.

    Attributes
    ----------
    access
        How it is opened, with which credentials.
    address
        Its URL for messages, without a signature.
    """

    def __init__(self, access: Resolved) -> None:
        self.access = access
        self.address = clean_url(access.url)
        self._stores: dict[bool, Any] = {}
        given = dict(access.retry_config)
        self._retry: dict[str, Any] = {
            "max_retries": given.get("max_retries", RETRIES),
            "retry_timeout": given.get("retry_timeout", timedelta(seconds=PATIENCE)),
            "backoff": given.get(
                "backoff",
                {
                    "init_backoff": timedelta(seconds=FIRST_WAIT),
                    "max_backoff": timedelta(seconds=LONGEST_WAIT),
                    "base": 2,
                },
            ),
        }

    @property
    def retries(self) -> int:
        """How often a request is sent again."""
        return int(self._retry["max_retries"])

    @property
    def tried(self) -> str:
        """How often a request was sent before it failed, for messages; "" where it is sent once."""
        if not self.retries:
            return ""
        seconds = self._retry["retry_timeout"].total_seconds()
        return f" after up to {self.retries} more tries within {seconds:g} s"

    @property
    def store(self) -> Any:
        """The store of obstore; sends requests again where that helps."""
        return self._store(True)

    @property
    def once(self) -> Any:
        """The store of obstore that sends each request once."""
        return self._store(False)

    def _store(self, retries: bool) -> Any:
        check_process(self.address)
        found = self._stores.get(retries)
        if found is None:
            found = self._stores[retries] = self._made(self._retry if retries else {"max_retries": 0})
        return found

    def _made(self, retry: Mapping[str, Any]) -> Any:
        from obstore import store

        access = self.access
        options: dict[str, Any] = {
            "client_options": {**_TIMEOUTS, **access.client_options},
            "retry_config": dict(retry),
        }
        if access.kind == "http":
            return store.HTTPStore(access.url, **options)
        bucket, prefix = split_url(access.url)
        options |= {"prefix": prefix or None, "config": dict(access.config)}
        if access.credential_provider is not None:
            options["credential_provider"] = access.credential_provider
        kinds: dict[str, Any] = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}
        return kinds[access.kind](bucket, **options)

    @property
    def bucket(self) -> tuple[str, str, str]:
        """What all stores of one bucket have in common: the kind, the endpoint and the name."""
        return self.access.kind, str(self.access.config.get("endpoint", "")), split_url(self.access.url)[0]

    @property
    def is_known(self) -> bool:
        """Whether the service is one of which it is known that it honours conditions of writes."""
        return self.access.kind in ("gs", "az") or not self.access.config.get("endpoint")
