"""Where a new store goes that is written beside its place: what may be replaced, and when what is begun stays.

Layer: ops.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lamella.errors import WorkerLostError
from lamella.ops.rewriting.places import check_destination
from lamella.ops.rewriting.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Destination:
    """The destination of a new store, and what may be replaced there.

    Attributes
    ----------
    path
        Its folder, absolute.
    overwrite
        Whether a Zarr store that is there is replaced.
    command
        What writes it.
    """

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
        work = Workspace(self.path, {"command": self.command}, replaces=False)
        if os.path.lexists(work.folder) or os.path.lexists(f"{work.folder}.lock"):
            with work.held():
                work.finish_interrupted()

    @contextmanager
    def temporary(
        self,
        known: str | None,
        resumes: tuple[type[BaseException], ...] = (KeyboardInterrupt, WorkerLostError),
    ) -> Iterator[str]:
        """Return a folder beside the destination, maybe with what a killed call of the same, `known`, has written.

        It takes its name when all went well. For the same call it stays after a kill and the errors that are resumed;
        after other errors it goes.
        """
        work = Workspace(self.path, {"command": self.command}, replaces=False)
        with work.held():
            work.finish_interrupted()
            self.check()
            work.replaces = os.path.lexists(self.path)
            digest = known or secrets.token_hex(8)
            work.begin(digest)
            try:
                yield work.new
                self.check()  # something may have come there meanwhile
                work.publish(digest)
            except BaseException as error:
                # A batch system that ends a job asks first, with SIGTERM: the command line takes it as Ctrl-C.
                if known is None or not isinstance(error, resumes):
                    work.discard()
                raise
