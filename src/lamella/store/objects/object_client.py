"""Connect to an object store through obstore, with timeouts and retries.

obstore repeats a request without an answer, or with 429 or 5xx: 6 times, after 0.1 to 5 s, within 60 s.
`ObjectRequests.put_if` repeats conditional writes itself: if the answer to the first attempt is lost, the second is
refused. Processes forked after their parent used obstore or icechunk would hang: `check_process` raises.
"""

from __future__ import annotations

import atexit
import os
import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from lamella.errors import StorageError
from lamella.store.objects.addresses import clean_url, split_url
from lamella.store.objects.request_threads import end_requests, max_requests

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lamella.store.objects.credentials import ResolvedUrl

RETRIES = 6
"""Limit of repetitions of a request."""
FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 5.0
"""Upper limits of the random wait in seconds: after the first attempt, and after any; the limit doubles each time."""
RETRY_SECONDS: Final = 60.0
"""Seconds after which no further attempt is made."""

_first_process_id: list[int] = []
"""The id of the process that used obstore first."""


_TIMEOUTS = {
    "connect_timeout": "5s",
    "read_timeout": "30s",
    "timeout": "10m",
    "pool_idle_timeout": "15s",
    "pool_max_idle_per_host": str(max_requests()),
}
"""Timeouts of connecting, of each read, and of a whole answer; how long and how many idle connections are kept."""


_SECONDS_TO_END = 0.05
"""Seconds for which an ending process waits, so that obstore's threads can pass their last answers to the interpreter.
Python before 3.14 ends a late thread, and Rust then aborts the process (https://github.com/PyO3/pyo3/pull/4874)."""


def retry_waits() -> Iterator[float]:
    """Yield for each attempt a random time to wait after it, in seconds; end after `RETRY_SECONDS`."""
    start_time, max_wait = time.monotonic(), FIRST_WAIT
    while time.monotonic() - start_time <= RETRY_SECONDS:
        yield random.uniform(0, max_wait)
        max_wait = min(LONGEST_WAIT, 2 * max_wait)


def check_process(where: str) -> None:
    """Raise in a process that was forked after its parent used obstore."""
    process_id = os.getpid()
    if not _first_process_id:
        _first_process_id.append(process_id)
        atexit.register(_end)
    elif _first_process_id[0] != process_id:
        raise StorageError(
            f"Cannot use {where} in a process that was forked after its parent used an object store: the connections "
            "do not survive a fork. Start workers with the method 'spawn' or 'forkserver', as in "
            "multiprocessing.get_context('forkserver'); lamella.torch.loader() chooses it."
        )


def _end() -> None:
    if _first_process_id[0] != os.getpid():  # a forked process, which has none of the threads
        return
    end_requests()
    time.sleep(_SECONDS_TO_END)


class ObjectClient:
    """The connection to one store; `address` is its URL for messages."""

    def __init__(self, access: ResolvedUrl) -> None:
        self.access = access
        self.address = clean_url(access.url)
        self._stores: dict[bool, Any] = {}
        self._retry: dict[str, Any] = {
            "max_retries": RETRIES,
            "retry_timeout": timedelta(seconds=RETRY_SECONDS),
            "backoff": {
                "init_backoff": timedelta(seconds=FIRST_WAIT),
                "max_backoff": timedelta(seconds=LONGEST_WAIT),
                "base": 2,
            },
            **access.retry_config,
        }

    @property
    def retries(self) -> int:
        """How often a request is repeated."""
        return int(self._retry["max_retries"])

    @property
    def retries_text(self) -> str:
        """The end of a message about a failed request: how often it was repeated; "" without repetitions."""
        if not self.retries:
            return ""
        seconds = self._retry["retry_timeout"].total_seconds()
        return f" after up to {self.retries} more tries within {seconds:g} s"

    @property
    def store(self) -> Any:
        """The obstore store, with repetitions."""
        return self._store(True)

    @property
    def store_without_retries(self) -> Any:
        """The obstore store that sends each request once."""
        return self._store(False)

    def _store(self, retries: bool) -> Any:
        check_process(self.address)
        store = self._stores.get(retries)
        if store is None:
            store = self._stores[retries] = self._new_store(self._retry if retries else {"max_retries": 0})
        return store

    def _new_store(self, retry: Mapping[str, Any]) -> Any:
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
        """Kind, endpoint and name of the bucket, equal for all stores in it."""
        return self.access.kind, str(self.access.config.get("endpoint", "")), split_url(self.access.url)[0]

    @property
    def supports_conditions(self) -> bool:
        """Whether the service is known to support conditional writes."""
        return self.access.kind in ("gs", "az") or not self.access.config.get("endpoint")
