"""Law: verify and checksum that were cut short go on with what was not read, or is not what it was then."""

from __future__ import annotations

import json
import os
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
from tests.warm import run

import lamella
from lamella.errors import InvalidArgumentError, StorageError
from lamella.ops.integrity import checksum as sums
from lamella.ops.jobs.journal import Journal

from .verifying import CutError, Work, files_of, make, pixel_files

CHILD = """
import os, signal, sys
import lamella
from lamella.ops.jobs import journal
from lamella.ops.integrity import checksum
checksum._SETTLED_NS, journal._MAX_SECONDS = 0, 0
add, left = journal.Journal.add, [int(sys.argv[1])]
def killed(*given):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    add(*given)
journal.Journal.add = killed
exec(sys.argv[2])
"""


@pytest.fixture(autouse=True)
def old(monkeypatch):
    """Files are as old as files of an experiment, and what is found is written down at once."""
    monkeypatch.setattr("lamella.ops.integrity.checksum._SETTLED_NS", 0)
    monkeypatch.setattr("lamella.ops.jobs.journal._MAX_SECONDS", 0)


@pytest.fixture(params=["0.4", "0.5"])
def plate(request, tmp_path):
    return make(tmp_path / "plate.zarr", request.param)


@pytest.fixture(params=["verify", "manifest", "checksum"])
def work(request, tmp_path, monkeypatch, plate):
    sums.write_manifest(lamella.checksum(plate), tmp_path / "manifest")
    return Work(request.param, tmp_path, monkeypatch)


def in_turn(*values):
    """Return each work with each of the values, on a plate of one version and of the other in turn."""
    works = enumerate(("verify", "manifest", "checksum"))
    return [
        (("0.4", "0.5")[(turn + number) % 2], work, value)
        for turn, work in works
        for number, value in enumerate(values)
    ]


# -- kills --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
@pytest.mark.parametrize(("plate", "work", "after"), in_turn(0, 3), indirect=["plate", "work"])
def test_after_a_kill_the_same_call_reads_what_was_not_read(plate, work, after):
    before = files_of(plate)
    assert run(CHILD, after, work.code(plate)).returncode == -signal.SIGKILL
    assert work.record.exists()
    assert not (work.folder / "sums").exists()  # no manifest before it is complete
    found = work(plate)
    assert len(work.read) == len(work.keys(plate)) - after
    assert len(set(work.read)) == len(work.read)
    assert files_of(plate) == before
    work.ended(plate, found)


def test_a_complete_work_is_done_anew(plate, work):
    for _ in range(2):
        work.read.clear()
        work(plate)
        assert sorted(work.read) == work.keys(plate)


@pytest.mark.parametrize(
    ("plate", "work", "kind"), in_turn("threads", "processes"), indirect=["plate", "work"]
)
def test_workers_go_on_too(plate, work, kind, monkeypatch):
    settle = "import lamella.ops.integrity.checksum as one; assert one._SETTLED_NS; one._SETTLED_NS = 0"
    pool = (
        ThreadPoolExecutor(2)
        if kind == "threads"
        else ProcessPoolExecutor(2, get_context("spawn"), initializer=exec, initargs=(settle,))
    )
    monkeypatch.undo()  # functions that were replaced cannot be sent to processes
    monkeypatch.setattr("lamella.ops.integrity.checksum._SETTLED_NS", 0)
    monkeypatch.setattr("lamella.ops.jobs.journal._MAX_SECONDS", 0)
    seen, added, add = [], [], Journal.add

    def stop(done, total, what):
        seen.append(done)
        if len(seen) == 4:
            raise CutError

    def noted(record, key, *given):
        added.append(key)
        add(record, key, *given)

    monkeypatch.setattr(Journal, "add", noted)
    with pool, pytest.raises(CutError):
        work(plate, executor=pool, progress=stop)
    first = list(added)
    added.clear()
    found = work(plate)
    assert len(first) in (3, 4)
    assert sorted([*first, *added]) == work.keys(plate)
    work.ended(plate, found)


def test_the_report_says_how_many_files_an_earlier_call_has_read(plate, tmp_path, monkeypatch):
    work = Work("verify", tmp_path, monkeypatch)
    work.cut(plate, 2)
    report = work(plate)
    assert report.known == report.to_dict()["known"] == 2
    assert "2 of them read by a call before this one" in str(report)
    assert report.files == len(pixel_files(plate))


# -- what is not what it was --------------------------------------------------------------------------------------


def rewritten(path, key, data):
    """Another program writes into a file, and gives it the time that it had."""
    file = path / key
    before = file.stat()
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_file_that_changed_meanwhile_is_read_again_and_no_other(plate, work):
    first, *_ = work.cut(plate, 3)
    rewritten(plate, first, bytes(len((plate / first).read_bytes())))  # of the same size
    found = work(plate)
    assert len(work.read) == len(work.keys(plate)) - 2
    assert first in work.read
    work.ended(plate, found)
    if work.name != "checksum":
        assert first in {one.key for one in found.damage}


def test_a_file_that_changed_while_it_was_read_is_read_again(plate, tmp_path, monkeypatch):
    work, parts, changed = Work("checksum", tmp_path, monkeypatch), sums._read, []

    def changing(file):
        yield from parts(file)
        if not changed:
            changed.append(file.key)
            rewritten(plate, file.key, bytes(len((plate / file.key).read_bytes())))

    monkeypatch.setattr(sums, "_read", changing)
    work.cut(plate, 3)
    found = work(plate)
    assert changed[0] in work.read
    work.ended(plate, found)


def test_a_file_that_is_gone_is_not_known_any_more(plate, work):
    first, *_ = work.cut(plate, 3)
    (plate / first).unlink()
    found = work(plate)
    assert len(work.read) == len(work.keys(plate)) - 2
    work.ended(plate, found)


def test_a_file_is_judged_by_the_document_that_its_array_has_now(plate, tmp_path, monkeypatch):
    work = Work("verify", tmp_path, monkeypatch)
    done = work.cut(plate, 3)
    document = next(f for f in (plate / "A/1/0/0").iterdir() if f.name in ("zarr.json", ".zarray"))
    text = document.read_text()
    document.write_text(text.replace("uint16", "int16").replace("<u2", "<i2"))
    assert document.read_text() != text
    work(plate)
    assert set(done) & set(work.read) == {key for key in done if key.startswith("A/")}
    assert set(work.read) >= {key for key in work.keys(plate) if key.startswith("A/")}


@pytest.mark.parametrize("manifest", [False, True])
@pytest.mark.parametrize("mended", [False, True])
def test_a_damaged_file_is_looked_at_again(plate, tmp_path, monkeypatch, manifest, mended):
    work = Work("manifest" if manifest else "verify", tmp_path, monkeypatch)
    sums.write_manifest(lamella.checksum(plate), tmp_path / "manifest")
    first = work.cut(plate, 1)[0] if not manifest else pixel_files(plate)[0]
    work.record.unlink(missing_ok=True)
    whole = (plate / first).read_bytes()
    (plate / first).write_bytes(bytes(len(whole)))
    done = work.cut(plate, len(work.keys(plate)) - 1)
    assert first in done
    if mended:
        (plate / first).write_bytes(whole)
    report = work(plate)
    assert bool(report) == mended
    assert first in work.read
    assert len(work.read) == 2
    work.ended(plate, report)


def test_a_file_that_is_too_young_to_be_told_from_the_next_is_read_again(plate, work, monkeypatch):
    monkeypatch.setattr("lamella.ops.integrity.checksum._SETTLED_NS", 10**15)
    work.cut(plate, 3)
    work(plate)
    assert sorted(work.read) == work.keys(plate)


def test_a_manifest_that_changed_meanwhile_is_the_one_that_counts(plate, tmp_path, monkeypatch):
    work = Work("manifest", tmp_path, monkeypatch)
    digests = lamella.checksum(plate)
    sums.write_manifest(digests, tmp_path / "manifest")
    work.read.clear()
    first, *_ = work.cut(plate, 3)
    sums.write_manifest({**digests, first: "0" * 64}, tmp_path / "manifest")
    assert [one.key for one in work(plate).damage] == [first]


# -- the record ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("plate", "work"), [case[:2] for case in in_turn(None)], indirect=["plate", "work"])
def test_a_record_that_is_cut_off_anywhere_costs_what_it_does_not_tell(plate, work):
    work.cut(plate, 3)
    data = work.record.read_bytes()
    head = data.index(b"\n") + 1
    for length in [*range(head, len(data), 29), len(data) - 1, len(data)]:
        work.record.write_bytes(data[:length])
        work.read.clear()
        known = data[:length].count(b"\n") - 1
        work.cut(plate, 1)  # so that something is added behind the torn line
        found = work(plate)
        assert len(work.read) == len(work.keys(plate)) - known - 1
        work.ended(plate, found)


def test_a_line_that_is_damaged_is_passed_over(plate, work):
    for place in (0, 12, 40, -4):  # of the checksum, of the key, of the fingerprint, of the digest
        work.cut(plate, 3)
        head, first, *lines = work.record.read_bytes().splitlines(keepends=True)
        line = bytearray(first)
        line[place] ^= 1
        work.record.write_bytes(b"".join([head, line, *lines]))
        work.read.clear()
        found = work(plate)
        assert len(work.read) == len(work.keys(plate)) - 2
        work.ended(plate, found)


def forged(record, change):
    """Write a record with other lines, each with a checksum that is right."""
    from lamella.ops.jobs.journal import line_of, parse_line

    head, *lines = record.read_bytes().splitlines(keepends=True)
    record.write_bytes(head + b"".join(line_of(change(parse_line(line))) for line in lines))


@pytest.mark.parametrize(
    ("plate", "work", "change"),
    in_turn(
        lambda line: [line[0], [one + 1 for one in line[1]], *line[2:]],
        lambda line: [line[0], None, *line[2:]],
        lambda line: [*line[:2], "much", line[3]],
        lambda line: [*line[:2], line[2], None],
        lambda line: [line[0]],
        lambda line: [],
        lambda line: {"key": line[0]},
        lambda line: 7,
        lambda line: [["A"], *line[1:]],
    ),
    indirect=["plate", "work"],
)
def test_a_record_without_evidence_is_not_believed(plate, work, change):
    work.cut(plate, 3)
    forged(work.record, change)
    found = work(plate)
    assert sorted(work.read) == work.keys(plate)
    work.ended(plate, found)


def test_a_record_of_another_store_or_work_is_refused_and_kept(plate, work, tmp_path):
    work.cut(plate, 3)
    data = work.record.read_bytes()
    other = tmp_path / "other.zarr"
    shutil.copytree(plate, other)
    with pytest.raises(
        InvalidArgumentError, match=r"the record of another job .* finish that one, or delete"
    ):
        work(other)
    with (
        lamella.open_ome_zarr(plate) as node,
        pytest.raises(InvalidArgumentError, match="the record of another job"),
    ):
        work(node["A"])
    if work.name == "verify":
        with pytest.raises(InvalidArgumentError, match="the record of another job"):
            lamella.verify(plate, record=work.record, manifest=tmp_path / "manifest")
    assert work.record.read_bytes() == data


@pytest.mark.parametrize(
    "data", [b"notes of mine\n", b"[1, 2]\n", b"\0" * 99, b"00000000 {}\n", b'{"lamella": "record"']
)
def test_a_file_that_is_no_record_is_refused_and_kept(plate, work, data):
    work.record.write_bytes(data)
    with pytest.raises(InvalidArgumentError, match="is not a journal of lamella: choose another name"):
        work(plate)
    assert work.record.read_bytes() == data


def test_a_record_whose_first_line_is_cut_off_begins_anew(plate, work):
    work.cut(plate, 3)
    head = work.record.read_bytes().splitlines()[0]
    for length in (0, 1, len(head) // 2, len(head)):
        work.record.write_bytes(head[:length])
        done = work.cut(plate, 3)
        found = work(plate)
        assert sorted([*done, *work.read]) == work.keys(plate)
        work.ended(plate, found)


def test_a_folder_is_no_record(plate, work):
    work.record.mkdir()
    with pytest.raises(InvalidArgumentError, match="is not a file"):
        work(plate)


def test_a_record_that_cannot_be_written_is_an_error_that_names_it(plate, work, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    write = os.write
    before = files_of(plate)
    monkeypatch.setattr(
        "lamella.ops.jobs.journal.os.write", lambda *given: full() if work.read else write(*given)
    )
    with pytest.raises(StorageError, match=r"The record .* cannot be written: No space left"):
        work(plate)
    assert files_of(plate) == before


@pytest.mark.parametrize("where", ["in the store", "behind a link", "in another store"])
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_no_record_is_written_into_a_store(plate, tmp_path, where, mode):
    (tmp_path / "way").symlink_to((plate / pixel_files(plate)[0]).parent)
    folder = {
        "in the store": plate / "A/1",
        "behind a link": tmp_path / "way",
        "in another store": plate / "A",
    }[where]
    before = files_of(plate)
    looked_at = "B/1/0" if where == "in another store" else ""
    with lamella.open_ome_zarr(plate / looked_at, mode=mode) as node:
        for call in (
            lambda: lamella.verify(node, record=folder / "found"),
            lambda: lamella.checksum(node, folder / "sums"),
        ):
            with pytest.raises(InvalidArgumentError, match="would be a file of the store"):
                call()
    assert files_of(plate) == before


def test_results_are_written_down_in_batches_of_a_few_seconds(plate, work, monkeypatch):
    clock, writes, write = [0.0], [], os.write

    def tick():
        clock[0] += 0.5
        return clock[0]

    def counted(fd, data):
        if b" [" in data or b" {" in data:  # not the manifest
            writes.append(bytes(data).count(b"\n"))
        return write(fd, data)

    monkeypatch.setattr("lamella.ops.jobs.journal._MAX_SECONDS", 2.0)
    monkeypatch.setattr("lamella.ops.jobs.journal.time.monotonic", tick)
    monkeypatch.setattr("lamella.ops.jobs.journal.os.write", counted)
    work(plate)
    assert writes[0] == 1  # what it is the record of
    assert set(writes[1:]) == {4}


def test_results_of_large_files_are_written_down_at_once(plate, work, monkeypatch):
    monkeypatch.setattr("lamella.ops.jobs.journal._MAX_SECONDS", 1e9)
    monkeypatch.setattr("lamella.ops.jobs.journal._MAX_BYTES", 1)
    known = []

    def look(*_):
        known.append(work.record.read_bytes().count(b"\n") - 1)

    work(plate, progress=look)
    assert max(known) >= len(known) - 1


def test_what_was_found_is_written_down_when_the_work_fails(plate, work, monkeypatch):
    monkeypatch.setattr("lamella.ops.jobs.journal._MAX_SECONDS", 1e9)
    work.cut(plate, 3)
    work(plate)
    assert len(work.read) == len(work.keys(plate)) - 3


def test_two_at_once_on_one_record_both_end(plate, work):
    once = []

    def other(done, total, what):
        if not once:
            once.append(done)
            work.ended(plate, work(plate))

    work.ended(plate, work(plate, progress=other))
    assert once


# -- stores that are no folders -----------------------------------------------------------------------------------


def remote(tags):
    """A store in memory through fsspec, which tells ETags or does not."""
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
    from fsspec.implementations.memory import MemoryFileSystem
    from zarr.storage import FsspecStore

    class Tagged(MemoryFileSystem):
        store, pseudo_dirs, cachable = {}, [""], False

        def info(self, path, **options):
            found = super().info(path, **options)
            if tags and found["type"] == "file":
                found["ETag"] = tags + str(hash(self.cat_file(path)))
            return found

    assert fsspec
    return FsspecStore(AsyncFileSystemWrapper(Tagged(), asynchronous=True), path="/plate.zarr")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tags", ['"', "W/", ""])
@pytest.mark.parametrize("name", ["verify", "checksum"])
def test_objects_are_known_by_strong_etags_and_read_again_without(tmp_path, monkeypatch, tags, name):
    store = remote(tags)
    make(store)
    local = make(tmp_path / "plate.zarr")
    total = len(lamella.checksum(store)) if name == "checksum" else lamella.verify(store).files
    assert total == len(files_of(local) if name == "checksum" else pixel_files(local))  # folders are none
    work = Work(name, tmp_path, monkeypatch)
    first, *_ = work.cut(store, 3)
    store.fs.sync_fs.pipe_file(f"/plate.zarr/{first}", b"other")
    found = work(store)
    assert first in work.read
    assert len(work.read) == (total - 2 if tags == '"' else total)
    if name == "verify":
        assert [one.key for one in found.damage] == [first]
    assert json.loads(json.dumps(str(found)))
