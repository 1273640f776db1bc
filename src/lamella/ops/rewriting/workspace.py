"""The workspace of a rewritten store: a folder beside the final path of the store, and the move to this path.

``plan.json`` has the settings, ``store`` the new store so far. A complete store exchanges its name with the old one,
which is then deleted. A kill leaves the old or the new store complete at its path, and the same command resumes. If the
system cannot exchange names, the old store is first moved to ``old``, and for a moment there is no store at the path.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from lamella.errors import (
    InvalidArgumentError,
    InvalidNameError,
    LamellaError,
    StorageError,
    StoreExistsError,
    WorkerLostError,
    short_repr,
)
from lamella.log import log
from lamella.ops.jobs.journal import LocalFile
from lamella.ops.rewriting.endpoints import check_destination, make_folder
from lamella.store.files import file_system as system
from lamella.store.files.local import LocalStorage
from lamella.store.files.temporary_files import shown_as
from lamella.store.keys import PRIVATE_PREFIX, is_private, private_name, problem_of_key, title_of
from lamella.store.paths import check_length

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lamella.types import JSONObject

_PLAN = "plan.json"
_NEW = "store"
_OLD = "old"


def check_name(path: str) -> None:
    """Raise `InvalidNameError` for a path or URL whose name no store can have."""
    if fault := problem_of_key(os.path.basename(path)):
        raise InvalidNameError(f"Cannot write {short_repr(path)}: {fault}. Choose another name.")


class Workspace:
    """The folder of an unfinished store for an absolute path; only a call with the same ``settings`` may use it.

    With ``overwrite`` the new store replaces a Zarr store at the path, with ``in_place`` its source.
    """

    def __init__(
        self, path: str, settings: JSONObject, *, overwrite: bool = False, in_place: bool = False
    ) -> None:
        parent, name = os.path.split(path)
        self.path = path
        self.settings = settings
        self.overwrite = overwrite
        self.in_place = in_place
        self.replaces = False
        self.folder = os.path.join(parent, private_name(f"rewrite-{name}"))
        self.new_store = os.path.join(self.folder, _NEW)
        self.journal = LocalFile(os.path.join(self.folder, "journal"))
        self._moved_aside = os.path.join(self.folder, _OLD)
        self._parent = parent

    @property
    def name(self) -> str:
        """Name of the store without its ending."""
        return title_of(os.path.basename(self.path))

    def check(self) -> None:
        """Raise if the path exists and must not be replaced."""
        if not self.in_place:
            check_destination(self.path, overwrite=self.overwrite)

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Lock the path for all processes during the whole run.

        A run that was killed while it moved its store is finished first. Yield whether there was such a run with these
        settings: then the store at the path is what this call would write.
        """
        check_length(self.path, "a store")
        check_name(self.path)
        make_folder(self._parent)
        with LocalStorage(self._parent).lock(os.path.basename(self.folder).removeprefix(PRIVATE_PREFIX)):
            try:
                yield self._finish_move()
            except LamellaError:
                raise
            except OSError as error:
                raise StorageError(
                    f"Cannot write {self.path}: {error.strerror or error}. Fix the cause and run the "
                    "same call again.",
                    error.errno,
                ) from error

    def finish_interrupted(self) -> None:
        """Finish a run that was killed while it moved its store into place."""
        if os.path.lexists(self.folder) or os.path.lexists(f"{self.folder}.lock"):
            with self.locked():
                pass

    @contextmanager
    def temporary(
        self,
        job: str | None,
        keep_after: tuple[type[BaseException], ...] = (KeyboardInterrupt, WorkerLostError),
    ) -> Iterator[str]:
        """Yield a folder beside the path for the new store, which is moved to the path at the end.

        If an interrupted call had the same digest ``job``, the folder has its files. It stays after a kill and after
        errors ``keep_after``, if there is a digest; after other errors it is deleted.
        """
        with self.locked():
            self.check()
            digest = job or secrets.token_hex(8)
            self.begin(digest)
            try:
                with shown_as(self.new_store, self.path):
                    yield self.new_store
                self.check()  # another program may have written there meanwhile
                self.publish(digest)
            except BaseException as error:
                # A batch system sends SIGTERM before it kills a job; the command line handles it as Ctrl-C.
                if job is None or not isinstance(error, keep_after):
                    self._discard()
                raise

    def _finish_move(self) -> bool:
        """Finish a run killed while moving the store; return whether the store at the path has these settings."""
        if not os.path.lexists(self.folder):
            return False
        plan = self._plan()
        if not os.path.lexists(self.path) and os.path.lexists(self._moved_aside):
            if not os.path.lexists(self.new_store):
                raise StorageError(
                    f"{self.path} was moved to {self._moved_aside}, and the new store is missing: move the old one "
                    "back."
                )
            os.rename(self.new_store, self.path)
        if plan is not None and not any(map(os.path.lexists, (self.path, self.new_store, self._moved_aside))):
            self._remove()  # the killed run had written no store, or had only to delete the workspace
        if plan is None or not os.path.lexists(self.path):
            return False
        if os.path.lexists(self.new_store) and plan.get("store") != os.lstat(self.path).st_ino:
            return False  # the old store is still at the path
        has_same_settings = plan.get("settings") == self.settings
        is_complete = bool(plan.get("complete"))
        self._remove()
        return has_same_settings and is_complete

    def begin(self, digest: str) -> None:
        """Create the workspace, or resume one with the same settings and ``digest`` of the source's documents."""
        self.replaces = os.path.lexists(self.path)
        plan = self._plan()
        if plan is not None and plan.get("settings") != self.settings:
            raise InvalidArgumentError(
                f"{self.folder} has an unfinished store of another command ({_settings_text(plan.get('settings'))}): "
                "run that command again to finish it, or delete the folder."
            )
        names_in_folder = os.listdir(self.folder) if os.path.lexists(self.folder) else []
        if plan is None and any(not is_private(name) for name in names_in_folder):
            raise InvalidArgumentError(
                f"{self.folder} exists, and is not a workspace of lamella: delete or move it."
            )
        if plan is not None and plan.get("digest") != digest and os.path.lexists(self.new_store):
            self._remove_files()
            shutil.rmtree(self.new_store)
        if os.path.lexists(self.new_store):
            _remove_temporary_files(self.new_store)
        self._write_plan(digest, complete=False)

    def publish(self, digest: str) -> None:
        """Move the new store into place, and delete the old one afterwards."""
        if not self.replaces and os.path.lexists(self.path):
            raise StoreExistsError(
                f"{self.path} was created meanwhile by another program: choose another name; the new "
                f"store is in {self.new_store}"
            )
        if self.replaces:
            LocalStorage(self.path).check_deletable("")
        self._write_plan(digest, complete=True)
        if self.replaces and hasattr(os, "sync"):
            os.sync()  # after a power cut, when the old store is deleted, the new one must be on the disk
        try:
            if not (self.replaces and system.exchange(self.new_store, self.path)):
                self._move()
        except OSError as error:
            raise StorageError(
                f"The new store cannot be moved to {self.path}: {error.strerror or error}. It is in {self.new_store}.",
                error.errno,
            ) from error
        log.debug("Moved %s to %s", self.new_store, self.path)
        self._remove()

    def _move(self) -> None:
        """Move the new store into place in two steps, if names cannot be exchanged."""
        if self.replaces:
            os.rename(self.path, self._moved_aside)
        try:
            os.rename(self.new_store, self.path)
        except BaseException:
            if self.replaces:
                os.rename(self._moved_aside, self.path)
            raise

    def _discard(self) -> None:
        """Delete the unfinished store; a store that was moved aside and could not be moved back stays."""
        if not os.path.lexists(self._moved_aside):
            with suppress(OSError):  # the next call deletes it first
                self._remove()

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
            # Distinguishes the new store from the old one after they have exchanged their names.
            plan["store"] = os.lstat(self.new_store).st_ino
        LocalStorage(self.folder, fsync=True).write(_PLAN, json.dumps(plan, indent=2).encode())

    def _remove(self) -> None:
        """Delete the workspace: the journal before its store, and the plan last, because it describes both."""
        with suppress(OSError):  # as long as the plan exists, the next call deletes the rest
            self._remove_files()
        for name in (self._moved_aside, self.new_store):
            if os.path.lexists(name):
                shutil.rmtree(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_files(self) -> None:
        """Delete the journal and all other files but the plan."""
        for name in os.listdir(self.folder):
            if name != _PLAN and os.path.isfile(os.path.join(self.folder, name)):
                os.unlink(os.path.join(self.folder, name))


def _remove_temporary_files(folder: str) -> None:
    """Delete temporary files of a killed process from a store without other writers."""
    for above, folders, files in os.walk(folder):
        for name in files:
            if is_private(name):
                os.unlink(os.path.join(above, name))
        for name in [name for name in folders if is_private(name)]:
            shutil.rmtree(os.path.join(above, name))
            folders.remove(name)


def _settings_text(settings: object) -> str:
    if not isinstance(settings, dict):
        return "unknown"
    return ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None)
