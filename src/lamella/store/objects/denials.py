"""Interpret HTTP 403, which services also return for missing keys, where the credentials may not list.

Once credentials have expired, services return it for every key. So before a 403 counts as "missing", a document that
was read before is read again: if that succeeds, the credentials are still valid. Concurrent requests share that check.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from lamella.errors import warn
from lamella.store.keys import DOCUMENTS, PRIVATE_PREFIX
from lamella.store.objects.event_loop import PerLoop
from lamella.store.objects.service_errors import is_absent, is_forbidden, request_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Denials:
    """Tests once whether 403 means "missing" in one store, and confirms it at each 403.

    ``get`` requests a key, and returns None or raises where it is missing. ``when_unlisted`` is called when 403 turns
    out to mean "missing", and so the credentials may not list.
    """

    def __init__(
        self,
        address: str,
        get: Callable[[str], Awaitable[object]],
        when_unlisted: Callable[[], object] | None = None,
    ) -> None:
        self._when_unlisted = when_unlisted
        self._address = address
        self._get = get
        #: A document that could be read, so that the credentials were valid then.
        self.readable: str | None = None
        #: Whether 403 means "missing"; None until tested.
        self.mean_missing: bool | None = None
        self._testing = PerLoop(asyncio.Lock)
        self._confirmations = 0
        self._may_read = False

    async def is_missing(self) -> bool:
        """Whether a 403 means that the key is missing: it does if a random key, which cannot exist, gets 403 too."""
        confirmations_before = self._confirmations
        async with self._testing():
            if self.mean_missing is None:
                await self._test()
            elif self.mean_missing and self._confirmations == confirmations_before:
                self._confirmations += 1
                self._may_read = await self._reads_a_document()
        return bool(self.mean_missing) and self._may_read

    async def _test(self) -> None:
        if not await self._is_denied(f"{PRIVATE_PREFIX}{secrets.token_hex(8)}"):
            self.mean_missing = False
        elif await self._reads_a_document():
            self.mean_missing = self._may_read = True
            if self._when_unlisted is not None:
                self._when_unlisted()
            warn(
                f"{self._address} answers 403 for what is not there, since these credentials may not list: 403 "
                "is read as absent from here on. A chunk that may not be read looks like one never written; the "
                "permission to list (s3:ListBucket) tells them apart."
            )

    async def _is_denied(self, key: str) -> bool:
        try:
            await self._get(key)
        except Exception as error:
            if is_absent(error):
                return False
            if is_forbidden(error):
                return True
            raise request_error("read", key, self._address, error) from error
        return False

    async def _reads_a_document(self) -> bool:
        """Whether a document can be read now: the one read last, or one of the root."""
        for name in [self.readable, *DOCUMENTS] if self.readable else DOCUMENTS:
            try:
                if await self._get(name) is not None:
                    return True
            except Exception as error:
                if not is_forbidden(error) and not is_absent(error):
                    raise request_error("read", name, self._address, error) from error
        return False
