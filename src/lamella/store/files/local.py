"""Store in a folder of the local (or mounted) file system.

Every write is a temporary file in the same folder and one rename: readers, also after a kill, see old bytes or new
ones.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import TYPE_CHECKING, NoReturn, TypeVar

from lamella.errors import InvalidNameError, NodeExistsError, NodeNotFoundError, StorageError
from lamella.log import log
from lamella.store.files import file_system as system
from lamella.store.files import page_cache
from lamella.store.files.file_system import Folders, PathGuard, names_in
from lamella.store.files.locks import ReplacementLock, file_lock
from lamella.store.files.removal import PartlyRemovedError, check_removable, remove_folder
from lamella.store.files.temporary_files import replacing_name, sweep_folder, temporary_name
from lamella.store.keys import DOCUMENTS, check_key, is_private, natural_order, private_name, title_of
from lamella.store.metadata.json_document import check_size
from lamella.store.storage import Names, Stamp, Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from zarr.storage import LocalStore

    from lamella.types import JSONObject, StrPath


T = TypeVar("T")

_NOT_PERMITTED = (errno.EACCES, errno.EPERM, errno.EROFS)

_MAX_GAP = 6
"""Limit of folders without documents between two groups of a store."""


def has_documents(folder: str) -> bool:
    """Return whether a folder has a document of Zarr itself, also one that cannot be read."""
    return any(os.path.lexists(os.path.join(folder, name)) for name in DOCUMENTS)


def folders_above(folder: str) -> Iterator[str]:
    """Yield the folders above that have documents of the same store, nearest first.

    Folders between them may have no document, such as the rows of a plate.
    """
    gap = 0
    while gap < _MAX_GAP and folder != os.path.dirname(folder):
        folder, gap = os.path.dirname(folder), gap + 1
        if has_documents(folder):
            gap = 0
            yield folder


class LocalStorage(Storage):
    """A store in a folder, which need not exist before the first write.

    ``fsync`` flushes each file and its folder to the disk before a write returns. ``follow_links`` follows symbolic
    links that lead out of the folder, and uses names as the system does: by default such links raise
    `InvalidNameError`, and a name that differs from an existing one by case only is missing.
    """

    locks_processes = True
    has_folders = True

    def __init__(
        self, root: StrPath, read_only: bool = False, *, fsync: bool = False, follow_links: bool = False
    ) -> None:
        self.root = os.path.abspath(os.fspath(root))
        self.read_only = read_only
        self.fsync = fsync
        self.follow_links = follow_links
        self._no_link = 0 if follow_links else system.NO_LINK
        self._guard = PathGuard(self.root, follow_links)
        self._base = self._guard.base
        self.folders = Folders(self._guard, fsync, self._fail)

    def __repr__(self) -> str:
        return f"LocalStorage({self.root!r}{', read_only=True' if self.read_only else ''})"

    def __reduce__(self) -> tuple[object, ...]:
        make = partial(LocalStorage, fsync=self.fsync, follow_links=self.follow_links)
        return make, (self.root, self.read_only), {"cache_bytes": self.cache_bytes}

    def beside(self, root: str, *, read_only: bool | None = None) -> LocalStorage:
        """Return the storage of another folder, such as the parent, with the same settings."""
        read_only = self.read_only if read_only is None else read_only
        storage = LocalStorage(root, read_only, fsync=self.fsync, follow_links=self.follow_links)
        storage.cache_bytes = self.cache_bytes
        return storage

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalStorage) and (other.root, other.read_only) == (
            self.root,
            self.read_only,
        )

    def __hash__(self) -> int:
        return hash((self.root, self.read_only))

    @property
    def name(self) -> str:
        return self.root

    @property
    def identity(self) -> str:
        """The folder with its links resolved."""
        return os.path.realpath(self.root)

    @property
    def title(self) -> str:
        return title_of(os.path.basename(self.root))

    @property
    def ignores_case(self) -> bool:
        return self._guard.ignores_case() is True

    # ---- reading --------------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        stamped = self.read_stamped(key)
        return None if stamped is None else stamped[0]

    def read_stamped(self, key: str) -> tuple[bytes, Stamp | None] | None:
        try:
            fd = self.open_file(key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._fail("read", key, error)
        try:
            status = os.fstat(fd)
            folder, _, name = key.rpartition("/")
            if name in DOCUMENTS:
                check_size(status.st_size, (folder and self._base + folder) or self.root, name)
            if not S_ISREG(status.st_mode) and not S_ISDIR(status.st_mode):
                raise StorageError(
                    f"Cannot read {self.where(key)}: it is a pipe, a socket or a device, not a file."
                )
            data = os.read(fd, status.st_size + 1)
            if len(data) != status.st_size:  # the file grew or shrank, or the system read fewer bytes
                data = b"".join([data, *iter(lambda: os.read(fd, 1 << 20), b"")])
        except IsADirectoryError:
            return None
        except OSError as error:
            self._fail("read", key, error)
        finally:
            os.close(fd)
        return data, system.stamp_of(status)

    def open_file(self, key: str) -> int:
        """Open a file for reading, and return its descriptor; `InvalidNameError` for links that leave the store."""
        path = self._path_of(key)
        try:
            return os.open(path, system.READ | self._no_link)
        except OSError as error:
            if self.follow_links or error.errno not in system.REFUSED_LINK:
                raise
        self._guard.check_links(key)
        return os.open(path, system.READ)

    def load_ahead(self, keys: Sequence[str]) -> None:
        page_cache.load_ahead(self.open_file, keys)

    def _path_of(self, key: str) -> str:
        """Return the path of a key; FileNotFoundError where the folder is not in the store."""
        folder, _, name = key.rpartition("/")
        # Documents are read often: their names need no check in a folder that was checked.
        if name not in DOCUMENTS or folder not in self._guard.checked_folders:
            check_key(key)
            if folder not in self._guard.checked_folders and not self._guard.check_folder(folder):
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", key)
        return self._base + key

    def check_folder(self, path: str) -> None:
        self._guard.check_folder(path)

    def check_file(self, key: str) -> None:
        self._guard.check_file(key)

    def regular_file_status(self, key: str) -> os.stat_result | None:
        """Return the status of a regular file; None for a link, a missing or an unreadable file."""
        try:
            status = os.lstat(self._path_of(key))
        except OSError:
            return None
        return status if S_ISREG(status.st_mode) else None

    def read_range(self, key: str, start: int, length: int) -> bytes | None:
        try:
            fd = self.open_file(key)
            try:
                size = os.fstat(fd).st_size
                return system.read_at(fd, max(0, start + size) if start < 0 else start, length)
            finally:
                os.close(fd)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            self._fail("read", key, error)

    def list(self, prefix: str) -> Names:
        """List a folder, without temporary and lock files, and without links to a folder above (`names_in`)."""
        check_key(prefix)
        try:
            self.check_folder(prefix)
            names = names_in(self._base, prefix)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._fail("list", prefix, error)
        return sorted((name for name in names if not is_private(name)), key=natural_order)

    def exists(self, prefix: str) -> bool:
        return self._stat(prefix) is not None

    def size(self, key: str) -> int | None:
        status = self._stat(key)
        return status.st_size if status is not None and S_ISREG(status.st_mode) else None

    def stamp(self, key: str) -> Stamp | None:
        """Return mtime, size, inode and ctime: a replacement changes at least the inode."""
        status = self._stat(key)
        return None if status is None else system.stamp_of(status)

    def _stat(self, key: str) -> os.stat_result | None:
        try:
            path = self._path_of(key)
            status = os.lstat(path)
            if S_ISLNK(status.st_mode):
                self._guard.check_links(key)
                status = os.stat(path)
            name = key.rpartition("/")[2]  # documents are looked at often, and have one spelling
            return None if name not in DOCUMENTS and self._guard.is_alias(key) else status
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._fail("look at", key, error)

    # ---- writing --------------------------------------------------------------------------------

    def write(self, key: str, data: bytes) -> None:
        self._write(key, data)

    def write_stamped(self, key: str, data: bytes) -> Stamp | None:
        stamp = self._write(key, data, stamped=True)
        # Windows cannot rename open files; there the lock is another file, and no other process writes meanwhile.
        return self.stamp(key) if sys.platform == "win32" else stamp

    def _write(self, key: str, data: bytes, *, stamped: bool = False) -> Stamp | None:
        self.check_writable(key)
        folder, _, name = key.rpartition("/")
        # As in `_path_of`, names of documents need no check in a folder that was checked.
        if (name not in DOCUMENTS or folder not in self.folders) and not check_key(key):
            raise InvalidNameError(
                f"Cannot write bytes to {self.root}: the root of a store is a folder. Name a file below it."
            )
        write = partial(system.write_whole, self._base + folder, self._base + key, data)
        return self.in_folder("write", key, partial(write, fsync=self.fsync, stamped=stamped))

    def in_folder(self, verb: str, key: str, action: Callable[[], T]) -> T:
        """Create the folder of a key, and call a function that writes into it; errors name verb and key."""
        folder = key.rpartition("/")[0]
        self.folders.create(folder)
        try:
            try:
                return action()
            except FileNotFoundError:  # another process removed a remembered folder
                self.folders.forget()
                self.folders.create(folder)
                return action()
        except OSError as error:
            self._fail(verb, key, error)

    def write_new_folder(self, folder: str, files: Sequence[tuple[str, bytes]]) -> bool:
        self.check_writable(folder)
        paths = self._base + check_key(folder).rpartition("/")[0], self._base + folder
        write = partial(system.write_new_folder, *paths, files, fsync=self.fsync)
        folders_inside = self.in_folder("write", folder, write)
        if folders_inside is None:
            return False
        self.folders.add_written(folder, [f"{folder}/{name}" for name in folders_inside])
        return True

    def _forget(self) -> None:
        """Check every folder again: one was moved or removed."""
        self.folders.forget()
        self._guard.forget()

    def _is_alias(self, path: str) -> bool:
        """Whether a path exists only because the file system ignores case."""
        try:
            self.check_folder(path.rpartition("/")[0])
        except NodeNotFoundError:
            return True
        return self._guard.is_alias(path)

    def check_writable_folder(self, path: str) -> None:
        self.check_writable(path)
        if check_key(path) not in self.folders:
            self._guard.check_links(path)

    def copy_from(self, source: LocalStorage, key: str, new_key: str) -> None:
        """Copy a file of another folder atomically."""
        self.check_writable(new_key)
        folder = check_key(new_key).rpartition("/")[0]
        source._stat(key)  # refuses links out of its store
        source_path = source._base + key
        paths = f"{self._base}{folder}/{temporary_name('.tmp')}", self._base + new_key
        try:
            self.in_folder(
                "copy to", new_key, partial(system.copy_whole, source_path, *paths, fsync=self.fsync)
            )
        except StorageError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.filename == source_path and cause.filename2 is None:
                source._fail("read", key, cause)
            raise
        if self.fsync:
            self.folders.flush(folder)

    def delete(self, prefix: str) -> None:
        """Delete a file, folder or link; links are never followed."""
        self.check_writable(prefix)
        path = self._base + check_key(prefix) if prefix else self.root
        self._guard.check_links(prefix.rpartition("/")[0])
        if self._is_alias(prefix):
            return
        self._forget()
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
        if not prefix and S_ISLNK(mode):
            raise InvalidNameError(
                f"Cannot delete {self.root}: it is a symbolic link. Delete the folder that it names instead."
            )
        try:
            if S_ISDIR(mode):
                remove_folder(path, may_stay=not prefix)
            else:
                os.unlink(path)  # removes a link, but not its target
        except FileNotFoundError:
            pass  # another process deleted it first
        except PartlyRemovedError as error:
            self._fail("delete", prefix, error)
        except OSError as error:
            self._fail_whole(prefix, error)
        log.debug("Deleted %s", path)
        if self.fsync and prefix:
            self.folders.flush(prefix.rpartition("/")[0])

    def _fail_whole(self, prefix: str, error: OSError) -> NoReturn:
        """Raise the error of a deletion that removed nothing."""
        where = f": {error.filename}" if error.filename else ""
        message = (
            f"Cannot delete {self.where(prefix)}: {error.strerror or error}{where}. "
            "Nothing was removed; make it writable, or leave it."
        )
        raise StorageError(message, error.errno) from error

    def check_deletable(self, prefix: str) -> None:
        super().check_deletable(prefix)
        path = self._base + check_key(prefix) if prefix else self.root
        self._guard.check_links(prefix.rpartition("/")[0])
        try:
            if S_ISDIR(os.lstat(path).st_mode):
                check_removable(path, may_stay=not prefix)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._fail_whole(prefix, error)

    def move(self, old: str, new: str) -> None:
        self.check_movable(old, new)
        source, target = self._base + old, self._base + new
        if not os.path.lexists(source) or self._is_alias(old):
            raise NodeNotFoundError(f"Cannot move {old!r} to {new!r}: there is no {old!r} in {self.root}.")
        self._guard.check_links(old.rpartition("/")[0])
        self.folders.create(new.rpartition("/")[0])
        # ``a1`` and ``A1`` are one entry where the file system ignores case.
        if os.path.lexists(target) and not os.path.samestat(os.lstat(source), os.lstat(target)):
            raise NodeExistsError(f"Cannot move {old!r} to {new!r}: {new!r} exists in {self.root}.")
        self._forget()
        try:
            os.rename(source, target)
        except OSError as error:
            self._fail("move", old, error)
        log.debug("Moved %s to %s", source, target)
        if self.fsync:
            for key in (old, new):
                self.folders.flush(key.rpartition("/")[0])

    def replace(self, path: str, replacement: str) -> None:
        """Exchange the two names in one step where the system can, and delete the old folder."""
        self.check_deletable(path)
        target, source = self._base + check_key(path), self._base + check_key(replacement)
        self._guard.check_links(replacement.rpartition("/")[0])
        self._forget()
        try:
            is_exchanged = (
                not self._is_alias(path) and os.path.lexists(target) and system.exchange(source, target)
            )
        except OSError as error:
            self._fail("replace", path, error)
        if not is_exchanged:
            replacement = self._kept_after_kill(replacement, path)
            self.delete(path)
            self.move(replacement, path)
            return
        if self.fsync:
            self.folders.flush(path.rpartition("/")[0])
        self.delete(replacement)

    def _kept_after_kill(self, replacement: str, path: str) -> str:
        """Rename a folder that `sweep` would remove after a kill, so that `sweep` moves it to `path` instead."""
        folder, _, name = replacement.rpartition("/")
        new_name = replacing_name(name, path.rpartition("/")[2])
        if new_name is None or folder != path.rpartition("/")[0]:
            return replacement
        new = f"{folder}/{new_name}" if folder else new_name
        self.move(replacement, new)
        return new

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Lock a file beside the key, between threads and processes."""
        self.check_writable(key)
        folder, _, name = check_key(key).rpartition("/")
        lock_path = f"{self._base}{folder}/{private_name(name or 'root', '.lock')}"
        with ExitStack() as stack:

            def create() -> None:
                try:
                    stack.enter_context(file_lock(lock_path))
                except OSError as error:
                    if error.errno in _NOT_PERMITTED:  # names the folder: the user does not know the key
                        self._fail("write to", folder, error)
                    raise

            self.in_folder("create a lock file beside", key, create)
            yield

    def replacement_lock(self, key: str) -> AbstractContextManager[object]:
        """Lock the file itself where the system can: a lock file per edit would cost as much as the edit."""
        self.check_writable(key)
        if sys.platform == "win32":
            return self.lock(key)
        return ReplacementLock(
            self._base + check_key(key), lambda: self.lock(key), partial(self._fail, "lock", key)
        )

    def swap(self, key: str, old: bytes, new: bytes, before_write: Callable[[], object]) -> bool:
        self.check_writable(key)
        if sys.platform == "win32":
            return super().swap(key, old, new, before_write)
        fail = partial(self._fail, "lock", key)
        with ReplacementLock(self._base + check_key(key), nullcontext, fail) as descriptor:
            if descriptor is not None:
                if os.pread(descriptor, len(old) + 1, 0) != old:
                    return False
                before_write()
                self.write(key, new)
                return True
        # The file is missing or not writable; its folder may be writable.
        return self.exists(key) and super().swap(key, old, new, before_write)

    def sweep(self, prefix: str = "", *, deep: bool = False) -> int:
        """Remove temporary files of dead processes, and those of other machines after a day; lock files stay."""
        self.check_writable(prefix)
        self.check_folder(check_key(prefix))
        top = self._base + prefix
        if not deep:
            return sweep_folder(top)
        removed = 0
        for folder, folders, _ in os.walk(top):
            removed += sweep_folder(folder)
            folders[:] = [name for name in folders if not is_private(name)]
        return removed

    # ---- for engines ----------------------------------------------------------------------------

    def kvstore(self, path: str) -> JSONObject | None:
        """Return the specification of TensorStore's file driver, which follows links below the folder."""
        self.check_folder(check_key(path))
        folder = f"{self._base}{check_key(path)}".rstrip("/")
        return {"driver": "file", "path": folder + "/"}

    def zarr_store(self) -> LocalStore:
        from zarr.storage import LocalStore

        return LocalStore(self.root, read_only=self.read_only)

    def _fail(self, verb: str, key: str, error: OSError) -> NoReturn:
        if isinstance(error, StorageError):
            raise error
        message = f"Cannot {verb} {self.where(key)}: {error.strerror or error}."
        raise StorageError(message, error.errno) from error
