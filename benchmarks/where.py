"""Sample the stacks of all running threads during each workload, and count samples by activity.

    python benchmarks/where.py [--only WORKLOAD,...] [--folder DIR]

Needs py-spy (``pip install py-spy``) and permission to trace own processes. Only running threads count, not those that
wait for a lock, the disk or another thread. Shares are of samples (250 per second), so their sum is processor time;
compare them within a workload. The table is printed; if all workloads are measured, it is written into
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
    """Return the activity of a thread, by the innermost frames of its stack."""
    frames = stack.split(";")
    name, _, location = frames[-1].partition(" ")
    nameless = name.startswith("0x")  # such as memcpy of the C library, or the machine code of our kernels
    # A thread that waits for the interpreter or a lock is inside of two functions of the C library without names.
    inside_libc = sum(frame.startswith("0x") and "libc" in frame for frame in frames[-2:])
    rules = {
        "waiting": inside_libc == 2 or any(word in frame for frame in frames[-4:] for word in WAITING),
        "codec": any(word in frame for frame in frames[-4:] for word in CODECS),
        "imports": "_find_and_load" in stack or "ld-linux" in location,
        "system calls": name.removeprefix("__libc_").strip("_") in SYSTEM,
        "copying": ("libc" in location and (nameless or "mem" in name)) or "_multiarray_umath" in location,
        "kernels": nameless and "machine_code.py" in stack,
    }
    return next((name for name, is_true in rules.items() if is_true), "Python")


def profiled(samples: Counter[str]) -> Callable[[Callable[[], object]], Figures]:
    """Return a replacement for `timing.measured` that adds samples taken during the work to ``samples``."""

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
                printed = spy.stdout.readline()  # "Sampling process ..."
                work()
                spy.send_signal(signal.SIGINT)
                printed += spy.stdout.read()
            if spy.returncode:
                sys.exit(f"py-spy: {printed}")
            for line in Path(file.name).read_text().splitlines():
                stack, _, count = line.rpartition(" ")
                samples[kind(stack)] += int(count)
        return {"seconds": 0.0}

    return measured


def profile(name: str, data: Path, output: Path) -> Counter[str]:
    """Profile one workload in this process."""
    samples: Counter[str] = Counter()
    if needed_workload := NEEDS.get(name):
        workload.main("lamella", needed_workload, data, output)
    workload.measured = profiled(samples)  # type: ignore[assignment]
    workload.best_of = lambda _, work: profiled(samples)(work)  # type: ignore[assignment]
    workload.main("lamella", name, data, output)
    return samples


def table(results: dict[str, Counter[str]]) -> str:
    """Return shares by workload."""
    rows = []
    for name, samples in results.items():
        total = sum(samples[kind_of_sample] for kind_of_sample in KINDS)
        rows.append([name, *(f"{samples[kind_of_sample] / total:.0%}" for kind_of_sample in KINDS)])
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
        output = Path(tempfile.mkdtemp(prefix="where-", dir=args.folder))
        try:
            samples = profile(args.one, args.folder.absolute(), output.absolute())
        finally:
            shutil.rmtree(output)
        print(json.dumps(samples))
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
