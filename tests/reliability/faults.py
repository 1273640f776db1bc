"""Faults at the operations of the system that change a folder: the n-th one fails, or the process dies there.

What is counted is what Python asks of the system below a root: files opened for writing, every write and flush, every
folder made, every rename and removal. TensorStore's own files are written by its threads, unseen: for them there are
`strace`, the size limit of files, and small file systems.

Used by tests and by ``torture``; knows nothing of lamella but the function by which it calls `renameat2`, which Python
has not.
"""

from __future__ import annotations

import errno as numbers
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

#: Removing makes room, so a full disk does not refuse it.
_REMOVES = ("unlink", "rmdir")

Act = Callable[[str], None]
"""What happens at a step, given the step; returns to let it go on."""


def fail(number: int) -> Act:
    """Refuse a step with an error of the system."""

    def refuse(step: str) -> None:
        if number in (numbers.ENOSPC, numbers.EDQUOT) and step.split(maxsplit=1)[0] in _REMOVES:
            return
        raise OSError(number, os.strerror(number))

    return refuse


def die(step: str) -> None:
    """End this process as ``kill -9`` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def kind(step: str) -> str:
    """Return what is done to which kind of file: names of positions, chunks and processes do not count."""
    operation, _, path = step.partition(" ")
    parts = ["*" if re.fullmatch(r"[A-Z]|\d+", part) else part for part in path.split("/")]
    parts = [re.sub(r"^\.lamella-[0-9a-f]+-.*(\.\w+)$", r"*\1", part) for part in parts]
    # Chunks at all depths are one kind.
    return f"{operation} {re.sub(r'/(c(/[*])+|[*](/[*]){4,})', '/chunk', '/'.join(parts))}"


def firsts(steps: list[str]) -> list[int]:
    """Return the number of the first step of each kind."""
    first: dict[str, int] = {}
    for n, step in enumerate(steps, 1):
        first.setdefault(kind(step), n)
    return list(first.values())


def chosen(steps: list[str], most: int | None) -> list[int]:
    """Choose steps to die at: the first, the last, and after the first of each kind; what readers see comes first."""
    if most is None:
        return list(range(1, len(steps) + 1))
    after = [n + 1 for n in firsts(steps) if n < len(steps)]
    seen = [n for n in after if steps[n - 2].startswith(("replace ", "rename ", "exchange "))]
    others = [1, *(n for n in after if n not in seen)]
    kept = spread(seen, most * 2 // 3)
    return sorted({*kept, *spread(others, most - len(kept)), len(steps)})


def spread(numbers: list[int], most: int) -> list[int]:
    """Return so many numbers, from the first to the last."""
    if len(numbers) <= most:
        return numbers
    return [numbers[i * (len(numbers) - 1) // max(1, most - 1)] for i in range(most)]


class Faults:
    """Counts steps below a folder while it is entered, and acts at one of them.

    Parameters
    ----------
    root
        Steps elsewhere are not counted.
    at
        Number of the step to act at, from 1; None only counts.
    act
        What to do there, such as `die` or ``fail(errno.ENOSPC)``.
    lasting
        Act at all later steps too, as a disk that stays full does.
    on_replace
        Told the target and the bytes of every file that is about to take its place.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        at: int | None = None,
        act: Act = die,
        *,
        lasting: bool = False,
        on_replace: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self.root = os.path.realpath(root)
        self.at, self.act, self.lasting = at, act, lasting
        self.steps: list[str] = []
        self.acted = False
        self._on_replace = on_replace
        self._fds: dict[int, str] = {}
        self._real: list[tuple[Any, str, Any]] = []
        self._lock = threading.RLock()

    def __enter__(self) -> Faults:
        for name in (
            "open",
            "write",
            "pwritev",
            "fsync",
            "close",
            "replace",
            "rename",
            "mkdir",
            "unlink",
            "rmdir",
            "link",
            "symlink",
        ):
            self._patch(os, name, getattr(self, f"_{name}"))
        self._patch(shutil, "copyfile", self._copyfile)
        system = sys.modules.get("lamella.store.files.file_system")
        if system is not None:
            self._patch(system, "exchange", self._exchange)
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, real in reversed(self._real):
            setattr(owner, name, real)
        self._real.clear()

    def _patch(self, owner: Any, name: str, replacement: Callable[..., Any]) -> None:
        real = getattr(owner, name)
        self._real.append((owner, name, real))
        setattr(owner, name, lambda *args, **options: replacement(real, *args, **options))

    def _below(self, path: Any, dir_fd: int | None = None) -> bool:
        if isinstance(path, int):
            return path in self._fds
        if dir_fd is not None:
            try:
                path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), os.fspath(path))
            except OSError:
                return False
        text = os.path.abspath(os.fsdecode(os.fspath(path)))
        folder = os.path.realpath(os.path.dirname(text))
        return f"{folder}/".startswith(f"{self.root}/")

    def _name(self, path: Any, dir_fd: int | None = None) -> str:
        """Return a path below the root."""
        if dir_fd is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), os.fspath(path))
        folder, name = os.path.split(os.path.abspath(os.fsdecode(os.fspath(path))))
        return os.path.relpath(os.path.join(os.path.realpath(folder), name), self.root)

    def step(self, operation: str, path: str | int) -> None:
        """Count a step, and act if it is the one."""
        with self._lock:
            step = f"{operation} {self._fds[path] if isinstance(path, int) else path}"
            self.steps.append(step)
            number = len(self.steps)
            act = self.at is not None and (number == self.at or (self.lasting and number > self.at))
            if act:
                self.acted = True
        if act:
            self.act(step)

    # ---- the operations --------------------------------------------------------------------------

    def _open(self, real: Any, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        counted = bool(flags & _WRITES) and self._below(path, dir_fd)
        if counted:
            self.step("open", self._name(path, dir_fd))
        fd: int = real(path, flags, mode) if dir_fd is None else real(path, flags, mode, dir_fd=dir_fd)
        if counted or self._below(path, dir_fd):
            self._fds[fd] = self._name(path, dir_fd)
        return fd

    def _close(self, real: Any, fd: int) -> None:
        self._fds.pop(fd, None)
        real(fd)

    def _write(self, real: Any, fd: int, data: Any) -> int:
        if fd in self._fds:
            try:
                self.step("write", fd)
            except OSError:
                real(fd, bytes(data)[: len(data) // 2])
                raise
            if self.at is not None and len(self.steps) + 1 == self.at:
                # The next step may be the last one: begin it, so that half a file is what a kill leaves.
                written: int = real(fd, bytes(data)[: max(1, len(data) // 2)])
                return written
        done: int = real(fd, data)
        return done

    def _pwritev(self, real: Any, fd: int, data: Any, offset: int) -> int:
        if fd in self._fds:
            self.step("write", fd)
        done: int = real(fd, data, offset)
        return done

    def _fsync(self, real: Any, fd: int) -> None:
        if fd in self._fds:
            self.step("fsync", fd)
        real(fd)

    def _replace(self, real: Any, source: Any, target: Any, **options: Any) -> None:
        if self._below(target):
            self.step("replace", self._name(target))
            if self._on_replace is not None:
                with open(source, "rb") as file:
                    self._on_replace(os.fspath(target), file.read())
        real(source, target, **options)

    def _rename(self, real: Any, source: Any, target: Any, **options: Any) -> None:
        if self._below(target):
            self.step("rename", self._name(target))
        real(source, target, **options)

    def _exchange(self, real: Any, source: Any, target: Any) -> bool:
        if self._below(target):
            self.step("exchange", self._name(target))
        done: bool = real(source, target)
        return done

    def _copyfile(self, real: Any, source: Any, target: Any, **options: Any) -> Any:
        if self._below(target):
            self.step("copy", self._name(target))
        return real(source, target, **options)

    def _simple(
        self, name: str, real: Any, path: Any, *args: Any, dir_fd: int | None = None, **options: Any
    ) -> None:
        if self._below(path, dir_fd):
            self.step(name, self._name(path, dir_fd))
        if dir_fd is not None:
            options["dir_fd"] = dir_fd
        real(path, *args, **options)

    def _mkdir(self, real: Any, path: Any, *args: Any, **options: Any) -> None:
        self._simple("mkdir", real, path, *args, **options)

    def _unlink(self, real: Any, path: Any, **options: Any) -> None:
        self._simple("unlink", real, path, **options)

    def _rmdir(self, real: Any, path: Any, **options: Any) -> None:
        self._simple("rmdir", real, path, **options)

    def _link(self, real: Any, source: Any, target: Any, **options: Any) -> None:
        if self._below(target):
            self.step("link", self._name(target))
        real(source, target, **options)

    def _symlink(self, real: Any, source: Any, target: Any, **options: Any) -> None:
        if self._below(target):
            self.step("symlink", self._name(target))
        real(source, target, **options)
