"""
Which files are compressed and which are not, what is counted, and that every reader gets the bytes that were written.
tests/system/attacks/test_exchange.py compresses while other processes delete, read and crash.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from deletion_support import needs_linux
from support import assert_balanced, entries, snapshot, tree
from tempfleet import (
    AlreadyClaimed,
    CompressionUnavailable,
    FileMissing,
    NotRegistered,
    TempFileManager,
    UnsafePath,
)
from tempfleet.compression.compressor import CompressionReport, _error_of
from tempfleet.deletion import Skip, Unchanged
from tempfleet.deletion import failpoints as faults
from tempfleet.testing import FakeClock

pytestmark = needs_linux

MakeManager = Callable[..., TempFileManager]
TEXT = b"the same line again and again\n" * 10_000
LONG_AGO = 1_000_000_000
AFTER = 60


@pytest.fixture
def manager(make_manager: MakeManager) -> TempFileManager:
    return make_manager(compress_after_seconds=AFTER)


@pytest.fixture
def write(base_dir: Path, clock: FakeClock) -> Callable[..., Path]:
    """Writes a file that was last used long ago."""

    def write(name: str = "file", content: bytes = TEXT) -> Path:
        path = base_dir / name
        path.write_bytes(content)
        set_idle(path)
        return path

    return write


def set_idle(path: Path) -> None:
    os.utime(path, (LONG_AGO, LONG_AGO))


def compressed(manager: TempFileManager, path: Path, clock: FakeClock) -> Path:
    manager.register(path, compress=True)
    clock.advance(AFTER + 1)
    assert manager.compress_idle().compressed == 1
    return path


def content_of(manager: TempFileManager, path: Path) -> bytes:
    with manager.open(path) as file:
        content: bytes = file.read()
        return content


def kept(manager: TempFileManager) -> dict[str, int]:
    report = manager.compress_idle()
    assert report.compressed == 0
    return dict(report.kept)


# -- which files


def test_no_file_is_compressed_unless_it_is_configured(
    make_manager: MakeManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    manager = make_manager()
    path = write()
    manager.register(path, compress=True)
    clock.advance(10 * AFTER)
    assert kept(manager) == {}
    assert list(manager.compressor.preview()) == []
    assert path.read_bytes() == TEXT


def test_only_registered_for_compression_or_all_files_of_a_volume_are_compressed(
    make_manager: MakeManager, manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    allowed, other = write("allowed"), write("other")
    manager.register(allowed, compress=True)
    manager.register(other)
    clock.advance(AFTER + 1)
    assert [record.path for record in manager.compressor.preview()] == [str(allowed)]
    assert manager.compress_idle().compressed == 1
    everything = make_manager(compress_after_seconds=AFTER, compression="all")
    assert everything.compress_idle().compressed == 1
    assert {record.is_compressed for record in manager.records()} == {True}
    assert content_of(manager, other) == TEXT


@pytest.mark.parametrize("asked", [(True, False), (False, True), (True, True), (True, False, True)])
def test_a_file_is_compressed_only_if_all_its_registrants_asked(
    make_manager: MakeManager, write: Callable[..., Path], clock: FakeClock, asked: tuple[bool, ...]
) -> None:
    managers = [make_manager(compress_after_seconds=AFTER) for _ in asked]
    path = write()
    for manager, compress in zip(managers, asked, strict=True):
        manager.register(path, compress=compress)
    clock.advance(AFTER + 1)
    assert managers[0].compress_idle().compressed == all(asked)
    assert (path.read_bytes() == TEXT) is not all(asked)


@pytest.mark.parametrize("compress", [False, True])
def test_a_created_file_is_compressed_only_if_its_other_registrant_asked(
    make_manager: MakeManager, manager: TempFileManager, clock: FakeClock, compress: bool
) -> None:
    created = manager.create(compress=True)
    created.write(TEXT)
    created.close()
    set_idle(Path(created))
    make_manager().register(created, compress=compress)
    clock.advance(AFTER + 1)
    assert manager.compress_idle().compressed == compress
    assert_balanced(manager)


def test_a_file_that_another_registers_while_it_is_read_to_be_compressed_stays_plain(
    manager: TempFileManager, make_manager: MakeManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path, other = write(), make_manager()
    manager.register(path, compress=True)
    clock.advance(AFTER + 1)

    def register(point: str) -> None:
        if point == "exchange.written":
            other.register(path)

    faults.install(register)
    try:
        assert manager.compress_idle().kept == {Skip.CHANGED: 1}
    finally:
        faults.install(None)
    assert path.read_bytes() == TEXT
    assert_balanced(manager)


def test_registering_writing_and_reading_count_as_uses(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path = write()
    manager.register(path, compress=True)
    clock.advance(AFTER - 1)
    assert kept(manager) == {}
    clock.advance(2)
    os.utime(path, (LONG_AGO, os.stat(path).st_ctime))
    assert kept(manager) == {"recent": 1}
    os.utime(path, (os.stat(path).st_ctime, LONG_AGO))
    assert kept(manager) == {"recent": 1}
    set_idle(path)
    assert manager.compress_idle().compressed == 1


def test_small_linked_held_and_expired_files_and_directories_are_not_compressed(
    manager: TempFileManager, write: Callable[..., Path], base_dir: Path, clock: FakeClock
) -> None:
    small, linked, held, due = write("small", b"x" * 1000), write("linked"), write("held"), write("due")
    (base_dir / "directory").mkdir()
    os.link(linked, base_dir / "link")
    for path in (small, linked, held):
        manager.register(path, compress=True)
    manager.register(due, compress=True, ttl=AFTER)
    manager.register(base_dir / "directory", directory=True)
    manager.hold(held)
    with pytest.raises(ValueError, match="directory"):
        manager.register(base_dir / "directory", directory=True, compress=True)
    clock.advance(AFTER + 1)
    assert kept(manager) == {"small": 1, "linked": 1}


def test_an_incompressible_file_is_not_tried_again(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    content = os.urandom(200_000)
    path = write(content=content)
    manager.register(path, compress=True)
    clock.advance(AFTER + 1)
    assert kept(manager) == {"incompressible": 1}
    assert kept(manager) == {}
    assert os.stat(path).st_atime == LONG_AGO
    assert path.read_bytes() == content
    set_idle(path)
    manager.register(path, compress=True)
    clock.advance(AFTER + 1)
    assert kept(manager) == {"incompressible": 1}
    manager.unregister(path)


@pytest.mark.parametrize("content", [b"", TEXT], ids=["nothing but a hole", "a hole at the end"])
def test_a_sparse_file_never_takes_more_space_than_before(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock, content: bytes
) -> None:
    path = write("sparse", content)
    os.truncate(path, 3 << 30)
    set_idle(path)
    before = path.stat().st_blocks
    manager.register(path, compress=True)
    clock.advance(AFTER + 1)
    assert list(manager.compressor.preview()) == []
    assert kept(manager) == {"sparse": 1}
    manager.unregister(path)
    assert (path.stat().st_size, path.stat().st_blocks) == (3 << 30, before)


def test_another_file_under_a_registered_name_is_not_compressed(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path = write()
    manager.register(path, compress=True)
    path.rename(path.with_name("kept"))
    write()
    clock.advance(AFTER + 1)
    assert kept(manager) == {"replaced": 1}
    assert path.read_bytes() == TEXT


def test_one_bad_file_does_not_stop_the_others(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    for name in "abc":
        manager.register(write(name), compress=True)
    clock.advance(AFTER + 1)
    failures = [OSError(5, "the disk is bad")]

    def fail(point: str) -> None:
        if point == "exchange.made" and failures:
            raise failures.pop()

    faults.install(fail)
    try:
        report = manager.compress_idle()
    finally:
        faults.install(None)
    assert (report.compressed, dict(report.kept)) == (2, {"EIO": 1})
    assert manager.compress_idle().compressed == 1


def test_a_pass_continues_where_the_last_one_stopped(
    make_manager: MakeManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    manager = make_manager(compress_after_seconds=AFTER)
    for n in range(5):
        manager.register(write(str(n)), compress=True)
    clock.advance(AFTER + 1)
    report = manager.compress_idle(budget_seconds=0)
    assert (report.compressed, report.finished) == (0, False)
    stop = threading.Event()
    done: list[str] = []

    def halt(point: str) -> None:
        if point == "exchange.settled":
            done.append(point)
            stop.set()

    faults.install(halt)
    try:
        report = manager.compress_idle(stop=stop)
    finally:
        faults.install(None)
    assert (report.compressed, report.finished, len(done)) == (1, False, 1)
    assert sum(manager.compress_idle().compressed for _ in range(2)) == 4
    assert manager.compress_idle().finished


def test_threads_may_compress_at_the_same_time(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    paths = [write(f"file{n}") for n in range(40)]
    for path in paths:
        manager.register(path, compress=True)
    clock.advance(AFTER + 1)
    passes: list[CompressionReport] = []
    threads = [threading.Thread(target=lambda: passes.append(manager.compress_idle())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passes) == 4
    for path in paths:
        os.utime(path, (0, 0))  # one that lost a file to another may have read it, which is a use
    manager.compress_idle()
    assert manager.stats().total("compressed") == 40
    assert {content_of(manager, path) for path in paths} == {TEXT}


def test_a_stop_in_the_middle_of_a_file_leaves_it_as_it_was(
    manager: TempFileManager, write: Callable[..., Path], base_dir: Path, clock: FakeClock
) -> None:
    path = write(content=TEXT * 20)
    manager.register(path, compress=True)
    clock.advance(AFTER + 1)
    stop = threading.Event()
    faults.install(lambda point: stop.set())
    try:
        report = manager.compress_idle(stop=stop)
    finally:
        faults.install(None)
    assert dict(report.kept) == {"stopped": 1}
    assert path.read_bytes() == TEXT * 20
    assert entries(base_dir) == ["file"]


def test_a_preview_changes_nothing(
    manager: TempFileManager, write: Callable[..., Path], base_dir: Path, clock: FakeClock
) -> None:
    manager.register(write(), compress=True)
    clock.advance(AFTER + 1)
    before = tree(base_dir), snapshot(manager.store.client)
    assert len(list(manager.compressor.preview())) == 1
    assert (tree(base_dir), snapshot(manager.store.client)) == before


# -- their metadata


def test_age_owner_mode_times_and_attributes_stay_and_the_totals_follow(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path = write()
    os.setxattr(path, "user.origin", b"a test")
    manager.register(path, compress=True, tags=["report", "pdf"])
    before, was = path.stat(), manager.get_record(path)
    clock.advance(AFTER + 1)
    report = manager.compress_idle()
    after, record, stats = path.stat(), manager.get_record(path), manager.stats()
    assert was is not None and record is not None
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert (after.st_mtime_ns, after.st_atime_ns) == (before.st_mtime_ns, before.st_atime_ns)
    assert os.getxattr(path, "user.origin") == b"a test"
    assert (record.registered_ms, record.deadline_ms) == (was.registered_ms, was.deadline_ms)
    assert manager.get_file_age(path) == AFTER + 1
    assert record.tags == ("report", "pdf")
    assert record.size_bytes == stats.bytes == after.st_size
    assert {total.bytes for total in manager.registry.tag_totals().values()} == {after.st_size}
    assert report.saved_bytes == stats.total("compression_saved_bytes")
    assert len(TEXT) - 2 * after.st_size < report.saved_bytes <= len(TEXT)
    assert_balanced(manager)
    assert manager.clear_all() == 1
    assert (manager.stats().bytes, manager.registry.tag_totals()) == (0, {})


def test_registering_a_compressed_file_again_keeps_it_readable(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path = compressed(manager, write(), clock)
    manager.register(path, ttl=7200)
    record = manager.get_record(path)
    assert record is not None and record.is_compressed
    assert manager.stats().bytes == path.stat().st_size
    assert content_of(manager, path) == TEXT
    manager.unregister(path)
    assert path.read_bytes() == TEXT


def test_a_compressed_file_is_compressed_once(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path = compressed(manager, write(), clock)
    set_idle(path)
    assert kept(manager) == {}


# -- reading


def test_a_compressed_file_reads_like_the_plain_one(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path, plain = compressed(manager, write(), clock), io.BytesIO(TEXT)
    assert path.read_bytes() != TEXT
    with manager.open(path) as file:
        for offset, whence in ((0, 0), (250_000, 0), (-7, 1), (5, 0), (-40, 2), (10, 2), (0, 0)):
            assert file.seek(offset, whence) == plain.seek(offset, whence)
            assert file.read(100) == plain.read(100)
            assert file.tell() == plain.tell()
        with pytest.raises(OSError, match="Invalid"):
            file.seek(-1)
    with manager.open(path, "r", encoding="ascii") as text:
        assert text.readline() == "the same line again and again\n"
        assert len(text.read()) == len(TEXT) - 30
    with manager.open(path) as lines:
        assert list(lines) == TEXT.splitlines(keepends=True)


def test_the_zstd_tool_reads_it_too(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path = compressed(manager, write(), clock)
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        assert stream.read() == TEXT


def test_a_file_that_is_not_compressed_is_read_unchanged(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    own = zstandard.ZstdCompressor().compress(TEXT)
    assert content_of(manager, write("own.zst", own)) == own
    assert content_of(manager, write("empty", b"")) == b""
    path = compressed(manager, write(), clock)
    copy = path.with_name("copy")
    shutil.copyfile(path, copy)
    assert content_of(manager, copy) == path.read_bytes()
    path.write_bytes(b"written over in place")
    assert content_of(manager, path) == b"written over in place"
    assert manager.decompress(path) is False
    manager.unregister(path)
    assert path.read_bytes() == b"written over in place"


def test_files_can_be_opened_for_reading_only(manager: TempFileManager, write: Callable[..., Path]) -> None:
    for mode in ("w", "r+b", "a", "x"):
        with pytest.raises(ValueError, match="decompress the file first"):
            manager.open(write(), mode)


def test_open_follows_no_link_and_does_not_block_on_a_fifo(
    manager: TempFileManager, write: Callable[..., Path], base_dir: Path
) -> None:
    os.mkfifo(base_dir / "fifo")
    (base_dir / "link").symlink_to(write())
    for name in ("fifo", "link"):
        with pytest.raises(UnsafePath, match=name.replace("link", "symlink")):
            manager.open(base_dir / name)
    with pytest.raises(FileMissing):
        manager.open(base_dir / "nothing")
    with pytest.raises(UnsafePath, match="outside"):
        manager.open("/etc/passwd")


@pytest.mark.parametrize("damage", ["cut", "cut short", "a bit", "the checksum"])
def test_a_damaged_file_is_an_error_and_never_other_bytes(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock, damage: str
) -> None:
    path = compressed(manager, write(content=os.urandom(30_000) * 10), clock)
    size = path.stat().st_size
    if damage.startswith("cut"):
        os.truncate(path, 300 if damage == "cut" else size - 20)
    else:
        with path.open("r+b") as file:
            at = size // 2 if damage == "a bit" else size - 1
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
    with pytest.raises(OSError, match="the compressed file"):
        content_of(manager, path)
    with pytest.raises(OSError, match="the compressed file"):
        manager.unregister(path)
    assert manager.is_temp_file(path)


# -- unregistering and decompressing


def test_unregistering_a_compressed_file_restores_its_content(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path = compressed(manager, write(), clock)
    manager.unregister(path)
    assert path.read_bytes() == TEXT
    assert path.stat().st_mtime == LONG_AGO
    assert not manager.is_temp_file(path)
    assert_balanced(manager)
    path = compressed(manager, write("other"), clock)
    del manager.files[str(path)]
    assert path.read_bytes() == TEXT
    assert manager.stats().total("released") == 2


def test_a_held_file_can_be_decompressed_and_unregistered(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path = compressed(manager, write(), clock)
    manager.hold(path)
    manager.unregister(path)
    assert path.read_bytes() == TEXT


def test_a_missing_compressed_file_can_be_unregistered(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path = compressed(manager, write(), clock)
    path.unlink()
    manager.unregister(path)
    assert not manager.is_temp_file(path)
    with pytest.raises(NotRegistered):
        manager.unregister(path)


@pytest.mark.parametrize("meanwhile", ["nothing", "a plain file", "a link", "a directory"])
def test_a_compressed_file_that_was_renamed_for_a_moment_is_still_decompressed(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock, meanwhile: str
) -> None:
    path = compressed(manager, write(), clock)
    away, other = path.with_name("away"), path.with_name("other")
    path.rename(away)
    if meanwhile == "a plain file":
        path.write_bytes(b"somebody's")
    elif meanwhile == "a link":
        path.symlink_to(away)
    elif meanwhile == "a directory":
        path.mkdir()
    with pytest.raises(FileMissing):
        manager.decompress(path)
    if meanwhile != "nothing":
        path.rename(other)
    away.rename(path)
    manager.unregister(path)
    assert path.read_bytes() == TEXT


def test_a_replaced_compressed_file_is_unregistered_and_the_new_file_is_not_touched(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path = compressed(manager, write(), clock)
    other = write("other", b"somebody's")
    other.rename(path)
    manager.unregister(path)
    assert path.read_bytes() == b"somebody's"
    assert not manager.is_temp_file(path)
    assert_balanced(manager)


def test_decompressing_restores_the_content_and_its_idle_time_starts_again(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path = compressed(manager, write(), clock)
    with manager.open(path) as reader:
        assert manager.decompress(path) is True
        assert reader.read() == TEXT
    assert path.read_bytes() == TEXT
    assert manager.stats().bytes == len(TEXT)
    assert manager.decompress(path) is False
    assert kept(manager) == {"recent": 1}
    with pytest.raises(FileMissing):
        manager.decompress(path.with_name("nothing"))
    with pytest.raises(UnsafePath):
        manager.decompress("/etc/passwd")


def test_secure_deletion_does_not_overwrite_a_compressed_file_that_is_read(
    make_manager: MakeManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    manager = make_manager(compress_after_seconds=AFTER, secure_delete=True)
    text = os.urandom(3_000_000).hex().encode()
    path = compressed(manager, write(content=text), clock)
    with manager.open(path) as reader:
        with pytest.raises(AlreadyClaimed, match="in use"):
            manager.decompress(path)
        assert reader.read() == text
    assert manager.decompress(path) is True
    assert path.read_bytes() == text
    assert kept(manager) == {"recent": 1}


def test_a_file_restored_from_quarantine_is_decompressed(
    make_manager: MakeManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    manager = make_manager(compress_after_seconds=AFTER, quarantine_seconds=600)
    path = compressed(manager, write(), clock)
    manager.clear_all()
    assert not path.exists()
    assert kept(manager) == {}
    manager.restore(path)
    assert path.read_bytes() == TEXT
    assert_balanced(manager)


def test_a_compressed_file_outlives_the_registry(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock
) -> None:
    path = compressed(manager, write(), clock)
    manager.store.client.flushall()
    assert content_of(manager, path) == TEXT
    assert manager.decompress(path) is True
    assert path.read_bytes() == TEXT


def test_without_the_library_the_error_names_the_package_to_install(
    manager: TempFileManager, write: Callable[..., Path], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = compressed(manager, write(), clock), write("other")
    manager.register(other, compress=True)
    clock.advance(AFTER + 1)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    for call in (manager.open, manager.decompress, manager.unregister):
        with pytest.raises(CompressionUnavailable, match=r"tempfleet\[compression\]"):
            call(path)
    with pytest.raises(CompressionUnavailable):
        manager.compress_idle()
    assert content_of(manager, other) == TEXT
    assert manager.clear_all() == 2


EXPECTED = {
    Skip.MISSING: FileMissing,
    Skip.REPLACED: FileMissing,
    Skip.CHANGED: AlreadyClaimed,
    Skip.EXCHANGING: AlreadyClaimed,
    Skip.OPEN: AlreadyClaimed,
    Skip.LOCKED: AlreadyClaimed,
}


@pytest.mark.parametrize("reason", [reason for reason in Skip if reason is not Skip.PLAIN])
def test_every_reason_not_to_decompress_has_an_error_with_the_path(reason: Skip) -> None:
    error = _error_of("/base/file", Unchanged(reason))
    assert type(error) is EXPECTED.get(reason, UnsafePath)
    assert vars(error)["path"] == "/base/file"


def test_a_reason_from_another_module_keeps_its_word() -> None:
    mount, open_file = Unchanged.of("mount"), Unchanged.of("open")
    assert (mount.reason, mount.word) == (Skip.REFUSED, "mount")
    assert (open_file.reason, open_file.word) == (Skip.OPEN, "open")
    error = _error_of("/base/file", mount)
    assert isinstance(error, UnsafePath) and error.reason == "mount"


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Skip.MISSING, "/base/file: there is no such file."),
        (Skip.REPLACED, "/base/file: another file has its name now."),
        (
            Skip.OUTSIDE_ROOTS,
            "/base/file cannot be decompressed: it is outside the directories that files may be deleted in "
            "(TEMP_FILE_ALLOWED_ROOTS).",
        ),
        (Skip.NO_EXCHANGE, "/base/file cannot be decompressed: its file system cannot exchange two names."),
    ],
)
def test_the_reason_not_to_decompress_is_a_sentence(reason: Skip, text: str) -> None:
    assert str(_error_of("/base/file", Unchanged(reason))) == text
