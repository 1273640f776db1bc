"""What 403 means: services answer it also for what is not there, to those who may not list.

They also answer it to everything once credentials have expired. So whoever takes a 403 for "not there" first reads a
document again that could be read before; requests that are answered at the same time share that.
"""

from __future__ import annotations

import asyncio
import secrets
import warnings
from typing import TYPE_CHECKING

from lamella.store.formats import DOCUMENTS
from lamella.store.keys import PRIVATE_PREFIX
from lamella.store.service_errors import explained, is_absent, is_forbidden

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Denials:
    """Whether one store answers 403 for what is not there; learned when 403 comes first, and confirmed at each one.

    Parameters
    ----------
    address
        URL of the store, for messages.
    get
        Asks for a key, and returns None or raises what the library does where it is not there.
    when_unlisted
        Called when 403 turns out to mean that a key is not there: the credentials may not list.
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
        #: A document that was read: then 403 for others may mean that they are not there.
        self.readable: str | None = None
        #: Whether 403 means absent; None until it was asked.
        self.mean_absent: bool | None = None
        self._asking = asyncio.Lock()
        self._confirmations = 0
        self._may_read = False

    async def learn(self) -> bool:
        """Return whether 403 means that a key is not there: so it is where an impossible key is answered the same."""
        before = self._confirmations
        async with self._asking:
            if self.mean_absent is None:
                await self._ask()
            elif self.mean_absent and self._confirmations == before:
                self._confirmations += 1
                self._may_read = await self._reads_a_document()
        return bool(self.mean_absent) and self._may_read

    async def _ask(self) -> None:
        if not await self._is_denied(f"{PRIVATE_PREFIX}{secrets.token_hex(8)}"):
            self.mean_absent = False
        elif await self._reads_a_document():
            self.mean_absent = self._may_read = True
            if self._when_unlisted is not None:
                self._when_unlisted()
            warnings.warn(
                f"{self._address} answers 403 for what is not there, since these credentials may not list: 403 "
                "is read as absent from here on. A chunk that may not be read looks like one never written; the "
                "permission to list (s3:ListBucket) tells them apart.",
                UserWarning,
                stacklevel=2,
            )

    async def _is_denied(self, key: str) -> bool:
        try:
            await self._get(key)
        except Exception as error:
            if is_absent(error):
                return False
            if is_forbidden(error):
                return True
            raise explained("read", key, self._address, error) from error
        return False

    async def _reads_a_document(self) -> bool:
        """Look whether a document can be read now: the one that was read last, or one of the root."""
        for name in [self.readable, *DOCUMENTS] if self.readable else DOCUMENTS:
            try:
                if await self._get(name) is not None:
                    return True
            except Exception as error:
                if not is_forbidden(error) and not is_absent(error):
                    raise explained("read", name, self._address, error) from error
        return False
