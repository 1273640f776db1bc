"""What 403 means: services answer it also for what is not there, to those who may not list.

Layer: store.
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
    """Whether one store answers 403 for what is not there; learned once, when 403 comes first.

    Parameters
    ----------
    address
        URL of the store, for messages.
    get
        Asks for a key, and returns None or raises what the library does where it is not there.
    """

    def __init__(self, address: str, get: Callable[[str], Awaitable[object]]) -> None:
        self._address = address
        self._get = get
        #: Whether a document was read: then 403 for others may mean that they are not there.
        self.has_read = False
        #: Whether 403 means absent; None until it was asked.
        self.mean_absent: bool | None = None
        self._asking = asyncio.Lock()

    async def learn(self) -> bool:
        """Return whether 403 means that a key is not there: so it is where an impossible key is answered the same."""
        if self.mean_absent is None:
            async with self._asking:
                await self._ask()
        return bool(self.mean_absent)

    async def _ask(self) -> None:
        if self.mean_absent is not None:
            return
        if not await self._is_denied(f"{PRIVATE_PREFIX}{secrets.token_hex(8)}"):
            self.mean_absent = False
        elif self.has_read or await self._reads_a_document():
            self.mean_absent = True
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
        """Look whether the root has a document that can be read."""
        for name in DOCUMENTS:
            try:
                if await self._get(name) is not None:
                    return True
            except Exception as error:
                if not is_forbidden(error) and not is_absent(error):
                    raise explained("read", name, self._address, error) from error
        return False
