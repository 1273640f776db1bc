"""The destination of a new store: what may be replaced there, and which errors keep an unfinished store."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.errors import WorkerLostError
from lamella.ops.rewriting.endpoints import check_destination
from lamella.ops.rewriting.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Destination:
    """The absolute path of a new store, whether it replaces a Zarr store there, and the operation that writes it."""

    path: str
    overwrite: bool
    command: str

    @property
    def name(self) -> str:
        """Name of the store without its ending."""
        return os.path.basename(self.path).removesuffix(".zarr").removesuffix(".ome")

    def check(self) -> None:
        """Raise if the destination exists and must not be replaced."""
        check_destination(self.path, overwrite=self.overwrite)

    def finish_interrupted(self) -> None:
        """Finish a call that was killed while its complete store was moved into place."""
        workspace = Workspace(self.path, {"command": self.command}, replaces=False)
        if os.path.lexists(workspace.folder) or os.path.lexists(f"{workspace.folder}.lock"):
            with workspace.locked():
                workspace.finish_interrupted()

    @contextmanager
    def temporary(
        self,
        job: str | None,
        keep_after: tuple[type[BaseException], ...] = (KeyboardInterrupt, WorkerLostError),
    ) -> Iterator[str]:
        """Yield a folder beside the destination for the new store, which is moved to the destination at the end.

        If an interrupted call had the same digest ``job``, the folder has its files. It stays after a kill and after
        errors ``keep_after``, if there is a digest; after other errors it is deleted.
        """
        workspace = Workspace(self.path, {"command": self.command}, replaces=False)
        with workspace.locked():
            workspace.finish_interrupted()
            self.check()
            workspace.replaces = os.path.lexists(self.path)
            digest = job or secrets.token_hex(8)
            workspace.begin(digest)
            try:
                yield workspace.new
                self.check()  # another program may have written there meanwhile
                workspace.publish(digest)
            except BaseException as error:
                # A batch system sends SIGTERM before it kills a job; the command line handles it as Ctrl-C.
                if job is None or not isinstance(error, keep_after):
                    workspace.discard()
                raise
