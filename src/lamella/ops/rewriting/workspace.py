"""Where a store is written anew: a folder beside the place that it will take, and how it takes that place.

What was begun is told by what is there: ``plan.json`` with the settings, ``store`` with the new store as far as it is
written. When that is complete, the two folders exchange their names, and the old one goes. A kill at any instant leaves
the old or the new store whole at its place, and the same command goes on from there. Where the system cannot exchange
names, the old store is moved to ``old`` first, and for a moment there is none at the place.

Layer: ops.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from lamella.errors import InvalidArgumentError, LamellaError, StorageError, StoreExistsError
from lamella.log import log
from lamella.store import file_system as system
from lamella.store.keys import PRIVATE_PREFIX, is_private
from lamella.store.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.types import JSONObject

_PLAN = "plan.json"
_NEW = "store"
_OLD = "old"


class Workspace:
    """The folder in which the store for one place is written.

    Parameters
    ----------
    path
        The place that the store will take.
    settings
        What was asked for; a workspace that was begun with others is refused.
    replaces
        Whether there is a store at the place, which goes when the new one is complete.
    """

    def __init__(self, path: str, settings: JSONObject, *, replaces: bool) -> None:
        parent, name = os.path.split(path)
        self.path = path
        self.settings = settings
        self.replaces = replaces
        self.folder = os.path.join(parent, f"{PRIVATE_PREFIX}rewrite-{name}")
        self.new = os.path.join(self.folder, _NEW)
        self._old = os.path.join(self.folder, _OLD)
        self._parent = parent

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the place alone over all processes, from the look at what was begun to the end."""
        try:
            os.makedirs(self._parent, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"the folder {self._parent} cannot be made: {error.strerror or error}", error.errno
            ) from error
        with LocalStorage(self._parent).lock(f"rewrite-{os.path.basename(self.path)}"):
            try:
                yield
            except LamellaError:
                raise
            except OSError as error:
                raise StorageError(
                    f"cannot write {self.path}: {error.strerror or error}; make the same call again "
                    "when that is mended",
                    error.errno,
                ) from error

    def finish_interrupted(self) -> bool:
        """Go on where a kill came between the new store being complete and the old one being gone.

        Returns
        -------
        bool
            Whether the store that is at the place now is what these settings ask for.
        """
        if not os.path.lexists(self.folder):
            return False
        plan = self._plan()
        if not os.path.lexists(self.path) and os.path.lexists(self._old):
            if not os.path.lexists(self.new):
                raise StorageError(
                    f"{self.path} was moved to {self._old}, and the store that was to take its place is gone: "
                    "move it back"
                )
            os.rename(self.new, self.path)
        if plan is None or not os.path.lexists(self.path):
            return False
        if os.path.lexists(self.new) and plan.get("store") != os.lstat(self.path).st_ino:
            return False
        same = plan.get("settings") == self.settings
        complete = bool(plan.get("complete"))
        self._remove()
        return same and complete

    def begin(self, digest: str) -> None:
        """Make the workspace, or go on in the one that is there when it was begun for the same.

        Parameters
        ----------
        digest
            Of the documents of the source: what was written of a store that has other documents now is of no use.

        Raises
        ------
        InvalidArgumentError
            The workspace that is there was begun with other settings.
        """
        plan = self._plan()
        if plan is not None and plan.get("settings") != self.settings:
            raise InvalidArgumentError(
                f"{self.folder} holds a store half written by another command ({_shown(plan.get('settings'))}): "
                f"run that command again to finish it, or delete the folder"
            )
        there = os.listdir(self.folder) if os.path.lexists(self.folder) else []
        if plan is None and any(not is_private(name) for name in there):
            raise InvalidArgumentError(
                f"{self.folder} is in the way, and does not say what it is for: delete or move it"
            )
        if plan is not None and plan.get("digest") != digest and os.path.lexists(self.new):
            shutil.rmtree(self.new)
        if os.path.lexists(self.new):
            _remove_litter(self.new)
        self._write_plan(digest, complete=False)

    def publish(self, digest: str) -> None:
        """Let the new store take its place; the old one is out of the way first, and goes last.

        Raises
        ------
        StoreExistsError
            Something has come to the place meanwhile.
        """
        if not self.replaces and os.path.lexists(self.path):
            raise StoreExistsError(
                f"{self.path} has come into being meanwhile: choose another name; what was written is in {self.new}"
            )
        if self.replaces:
            LocalStorage(self.path).check_deletable("")
        self._write_plan(digest, complete=True)
        if self.replaces and hasattr(os, "sync"):
            os.sync()  # a power cut after the old store is gone must find the new one on the disk
        try:
            if not (self.replaces and system.exchange(self.new, self.path)):
                self._move()
        except OSError as error:
            raise StorageError(
                f"the new store cannot take the place of {self.path}: {error.strerror or error}; it is in {self.new}",
                error.errno,
            ) from error
        log.debug("Moved %s to %s", self.new, self.path)
        self._remove()

    def _move(self) -> None:
        """Let the new store take its place in two steps, where names cannot be exchanged."""
        if self.replaces:
            os.rename(self.path, self._old)
        try:
            os.rename(self.new, self.path)
        except BaseException:
            if self.replaces:
                os.rename(self._old, self.path)
            raise

    def discard(self) -> None:
        """Give up what was begun; a store that was moved aside and could not be moved back stays."""
        if not os.path.lexists(self._old):
            with suppress(OSError):  # the next call begins with this
                self._remove()

    # ---- the plan -------------------------------------------------------------------------------

    def _plan(self) -> JSONObject | None:
        data = LocalStorage(self.folder).read(_PLAN)
        try:
            plan = None if data is None else json.loads(data)
        except ValueError:
            return None
        return plan if isinstance(plan, dict) else None

    def _write_plan(self, digest: str, *, complete: bool) -> None:
        plan = {"settings": self.settings, "digest": digest, "complete": complete}
        if complete:
            # The new store is told from the old one when the two have exchanged their names.
            plan["store"] = os.lstat(self.new).st_ino
        LocalStorage(self.folder, fsync=True).write(_PLAN, json.dumps(plan, indent=2).encode())

    def _remove(self) -> None:
        """Remove what is left; the plan last, because it says what the rest is."""
        for name in (self._old, self.new):
            if os.path.lexists(name):
                shutil.rmtree(name)
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove_litter(folder: str) -> None:
    """Remove temporary files of a killed process from a store that nobody else writes to."""
    for above, folders, files in os.walk(folder):
        for name in files:
            if is_private(name):
                os.unlink(os.path.join(above, name))
        for name in [name for name in folders if is_private(name)]:
            shutil.rmtree(os.path.join(above, name))
            folders.remove(name)


def _shown(settings: object) -> str:
    if not isinstance(settings, dict):
        return "unknown"
    given = [f"{key} {value}" for key, value in settings.items() if value is not None]
    return ", ".join(given)
