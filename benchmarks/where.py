"""Where the time of each workload goes: samples of all running threads, by what they were doing.

    python benchmarks/where.py [--only WORKLOAD,...] [--folder DIR]

Needs py-spy (``pip install py-spy``) and the right to look into an own process. A thread counts where it runs: what
waits for a lock, for the disk or for another thread is not there. Shares are of samples, 250 in a second, and their sum
is processor time; compare them within a workload. The table is printed, and with all workloads measured written into
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import sample
import workload
from report import machine, markdown, write_block

if TYPE_CHECKING:
    from collections.abc import Callable

    from timing import Figures

HERE = Path(__file__).parent
WORKLOADS = (
    *("plate_create", "plate_walk", "write_image", "read_image", "crops", "read_many"),
    *("pyramid", "pyramid_mode", "stream", "stream_shards", "copy_plate", "convert_raw", "convert_zlib"),
)
NEEDS = {"plate_walk": "plate_create", "read_image": "write_image"}
NEEDS |= dict.fromkeys(("crops", "read_many"), "write_sharded")
CODECS = (
    "numcodecs",
    "blosc",
    "zstd",
    "ZSTD",
    "HUF_",
    "FSE_",
    "bshuf",
    "bitshuffle",
    "crc32c",
    "imagecodecs",
)
CODECS += ("inflate", "zlib", "tensorstore")
SYSTEM = {
    *("access", "close", "copy_file_range", "fallocate", "fchmod", "fcntl64", "fdatasync", "flock", "fstat"),
    *(
        "fstatat64",
        "fsync",
        "ftruncate",
        "getdents64",
        "link",
        "lstat",
        "madvise",
        "mkdir",
        "mkdirat",
        "mmap",
    ),
    *("mmap64", "munmap", "open", "open64", "openat", "openat64", "pread64", "pwrite64", "read", "readdir64"),
    *(
        "readlink",
        "rename",
        "renameat",
        "renameat2",
        "rmdir",
        "sendfile",
        "sendfile64",
        "ioctl",
        "stat",
        "symlink",
        "unlink",
        "unlinkat",
    ),
    *("utimensat", "write"),
}
WAITING = ("pthread_cond", "pthread_mutex", "sem_", "futex", "take_gil", "PyThread_acquire_lock")
KINDS = ("codec", "copying", "kernels", "system calls", "imports", "Python")


def kind(stack: str) -> str:
    """Tell what a thread was doing, by the innermost frames of its stack."""
    frames = stack.split(";")
    name, _, place = frames[-1].partition(" ")
    nameless = name.startswith("0x")  # as memcpy of the C library, and machine code of our own
    # Who waits for the interpreter or a lock is inside of two functions of the C library without names.
    inside_libc = sum(frame.startswith("0x") and "libc" in frame for frame in frames[-2:])
    rules = {
        "waiting": inside_libc == 2 or any(word in frame for frame in frames[-4:] for word in WAITING),
        "codec": any(word in frame for frame in frames[-4:] for word in CODECS),
        "imports": "_find_and_load" in stack or "ld-linux" in place,
        "system calls": name.removeprefix("__libc_").strip("_") in SYSTEM,
        "copying": ("libc" in place and (nameless or "mem" in name)) or "_multiarray_umath" in place,
        "kernels": nameless and "machine_code.py" in stack,
    }
    return next((name for name, holds in rules.items() if holds), "Python")


def profiled(found: Counter[str]) -> Callable[[Callable[[], object]], Figures]:
    """Stand in for `timing.measured`: samples while the work runs go into `found`."""

    def measured(work: Callable[[], object]) -> Figures:
        with tempfile.NamedTemporaryFile("r", suffix=".txt") as file:
            command = [
                "py-spy",
                "record",
                "--pid",
                str(os.getpid()),
                "--native",
                "--threads",
                "--rate",
                "250",
            ]
            command += ["--duration", "3600", "--format", "raw", "--output", file.name]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as spy:
                assert spy.stdout is not None
                told = spy.stdout.readline()  # "Sampling process ..."
                work()
                spy.send_signal(signal.SIGINT)
                told += spy.stdout.read()
            if spy.returncode:
                sys.exit(f"py-spy: {told}")
            for line in Path(file.name).read_text().splitlines():
                stack, _, count = line.rpartition(" ")
                found[kind(stack)] += int(count)
        return {"seconds": 0.0}

    return measured


def one(name: str, data: Path, place: Path) -> Counter[str]:
    """Profile one workload in this process."""
    found: Counter[str] = Counter()
    if needed := NEEDS.get(name):
        workload.main("lamella", needed, data, place)
    workload.measured = profiled(found)  # type: ignore[assignment]
    workload.best_of = lambda _, work: profiled(found)(work)  # type: ignore[assignment]
    workload.main("lamella", name, data, place)
    return found


def table(results: dict[str, Counter[str]]) -> str:
    """Return shares by workload."""
    rows = []
    for name, found in results.items():
        total = sum(found[one] for one in KINDS)
        rows.append([name, *(f"{found[one] / total:.0%}" for one in KINDS)])
    return markdown(["workload", *KINDS], rows)


def main() -> None:
    """Profile each workload in a process of its own, print, write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--only", metavar="WORKLOAD,...", help="these only; docs/benchmarks.md stays as it is"
    )
    parser.add_argument("--folder", type=Path, default=HERE / "out", help="scratch space, about 10 GB")
    parser.add_argument("--one", metavar="WORKLOAD", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sample.make(args.folder.absolute())
    if args.one:
        place = Path(tempfile.mkdtemp(prefix="where-", dir=args.folder))
        try:
            found = one(args.one, args.folder.absolute(), place.absolute())
        finally:
            shutil.rmtree(place)
        print(json.dumps(found))
        return
    results = {}
    for name in args.only.split(",") if args.only else WORKLOADS:
        command = [sys.executable, __file__, "--one", name, "--folder", str(args.folder)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results[name] = Counter(json.loads(printed))
        print(name, dict(results[name]), flush=True)
    text = f"{machine()}; py-spy, all threads that run.\n\n{table(results)}"
    print(f"\n{text}")
    if not args.only:
        write_block("where", text)


if __name__ == "__main__":
    main()
