"""
Rewrites: what becomes of a file if a new one takes its name after it was registered, as ``os.replace`` does.
"""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from deletion_support import needs_linux, needs_root
from support import Packages, assert_balanced, entries, snapshot, tree, wait_until
from tempfleet import Outcome, Settings, TempFileManager, Volume
from tempfleet.cleanup.cleaner import Cleaner
from tempfleet.deletion import failpoints
from tempfleet.filesystem.inspection import inspect
from tempfleet.filesystem.roots import Roots
from tempfleet.filesystem.syscalls import Capabilities, System
from tempfleet.records import Flag, NewFile
from tempfleet.registry.registry import Registry
from tempfleet.registry.store import Store
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]
MakeReal = Callable[..., TempFileManager]
SLACK_MS = 20_000
"""How long a test may take between two steps."""


@pytest.fixture
def make_real(real_client: redis.Redis, base_dir: Path, clock: FakeClock) -> MakeReal:
    """Creates managers on the real server, with the test's clock."""

    def make(**values: object) -> TempFileManager:
        settings = Settings.load(base_dir=str(base_dir), audit_log="", **values)
        return TempFileManager(base_dir, 60, settings=settings, client=real_client, clock=clock)

    return make


def write(path: Path, content: str = "old") -> Path:
    path.write_text(content)
    return path


def rewrite(path: Path, content: str = "a new one") -> None:
    """Rewrite *path* as careful programs do."""
    os.replace(write(path.with_name("rewrite.part"), content), path)


def test_a_rewritten_file_enters_with_a_life_of_its_own(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    path = write(base_dir / "file")
    old = manager.register(path, ttl=100, tags=["a", "b"])
    rewrite(path)
    clock.advance(100)
    report = manager.cleanup_report()
    assert (report.counts[Outcome.REWRITTEN], report.deleted, report.kept) == (1, 0, 0)
    new = manager.get_record(path)
    assert new is not None and new.identity != old.identity
    assert (new.size_bytes, new.tags, new.uid) == (9, ("a", "b"), old.uid)
    assert clock.now_ms - SLACK_MS < new.registered_ms <= clock.now_ms
    assert new.deadline_ms - new.registered_ms == 100_000
    stats = manager.stats()
    assert (stats.total("rewritten"), stats.total("replaced"), stats.bytes) == (1, 0, 9)
    assert_balanced(manager)
    clock.advance(100)
    assert manager.cleanup() == 1
    assert not path.exists()
    assert_balanced(manager)


def test_the_new_life_is_counted_from_the_last_change(real_client: redis.Redis, base_dir: Path) -> None:
    manager = TempFileManager(base_dir, 60, client=real_client)
    path = write(base_dir / "file")
    manager.register(path, ttl=0.3)
    rewrite(path)
    changed_ms = path.stat().st_ctime_ns // 1_000_000
    wait_until(lambda: manager.stats().due)
    assert manager.cleanup_report().counts[Outcome.REWRITTEN] == 1
    record = manager.get_record(path)
    if record is not None:
        # A slow machine may have deleted it in the same clean-up, because its new life was over too.
        assert abs(record.registered_ms - changed_ms) < 100
        assert record.deadline_ms - record.registered_ms == 300


def test_a_rewrite_whose_life_is_over_is_deleted_by_the_next_claim(
    real_client: redis.Redis, base_dir: Path
) -> None:
    manager = TempFileManager(base_dir, 60, client=real_client)
    path = write(base_dir / "file")
    manager.register(path, ttl=0.05)
    rewrite(path)
    wait_until(lambda: time.time_ns() > path.stat().st_ctime_ns + 100_000_000)
    report = manager.cleanup_report()
    assert (report.counts[Outcome.REWRITTEN], report.deleted, report.batches) == (1, 1, 2)
    assert not path.exists()
    assert_balanced(manager)


def test_the_life_of_a_renewed_file_lasts_from_its_registration_to_its_deadline(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    path = write(base_dir / "file")
    manager.register(path, ttl=100)
    clock.advance(90)
    manager.renew(path, ttl=100)
    rewrite(path)
    clock.advance(100)
    manager.cleanup()
    record = manager.get_record(path)
    assert record is not None and record.deadline_ms - record.registered_ms == 190_000


def test_each_rewrite_counts_and_every_clean_up_waits_for_the_last(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    path = write(base_dir / "file")
    manager.register(path, ttl=60)
    for n in range(5):
        rewrite(path, f"version {n}")
        clock.advance(60)
        assert manager.cleanup() == 0
        assert path.read_text() == f"version {n}"
    clock.advance(60)
    assert manager.cleanup() == 1
    assert manager.stats().total("rewritten") == 5
    assert_balanced(manager)


def test_failed_attempts_are_forgotten_with_the_old_object(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    path = write(base_dir / "file")
    manager.register(path, ttl=1)
    clock.advance(1)
    failpoints.install(lambda point: _fail() if point == "guarded.found" else None)
    try:
        manager.cleanup()
    finally:
        failpoints.install(None)
    record = manager.get_record(path)
    assert record is not None and (record.attempts, record.last_error) == (1, "EIO")
    rewrite(path)
    clock.advance(3600)
    manager.cleanup()
    record = manager.get_record(path)
    assert record is not None and (record.attempts, record.last_error) == (0, "")


def _fail() -> None:
    raise OSError(errno.EIO, "of the test")


@needs_linux
def test_a_rewritten_compressed_file_is_plain_and_may_be_compressed_again(
    make_manager: MakeManager, base_dir: Path, clock: FakeClock
) -> None:
    manager = make_manager(compress_after_seconds=60, compress_min_bytes=1)
    path = write(base_dir / "file", "x" * 100_000)
    manager.register(path, compress=True)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    clock.advance(61)
    assert manager.compress_idle().compressed == 1
    rewrite(path)
    manager.clear_all()
    record = manager.get_record(path)
    assert record is not None and record.flags == Flag.MAY_COMPRESS
    with manager.open(path) as file:
        assert file.read() == b"a new one"
    assert_balanced(manager)


def test_only_the_owners_newer_plain_file_inside_the_base_directory_is_a_rewrite(
    make_manager: MakeManager,
    real_client: redis.Redis,
    base_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    settings = Settings.load(base_dir=str(base_dir), allowed_roots=(str(data),))
    manager = TempFileManager(base_dir, 60, settings=settings, client=real_client)
    older = write(base_dir / "older", "a new one")
    wait_until(lambda: time.time_ns() > older.stat().st_ctime_ns + 50_000_000)
    paths = {word: base_dir / word for word in ("rewritten", "linked", "older-file", "symlink", "directory")}
    paths["outside"] = data / "outside"
    for path in paths.values():
        manager.register(write(path), ttl=0.01)
        path.unlink() if path.name == "directory" else rewrite(path)
    os.link(paths["linked"], base_dir / "link")
    os.replace(older, paths["older-file"])
    paths["symlink"].unlink()
    paths["symlink"].symlink_to(base_dir / "link")
    paths["directory"].mkdir()
    before = tree(base_dir) | tree(data)
    wait_until(lambda: manager.stats().due == len(paths))
    caplog.set_level(logging.INFO)
    report = manager.cleanup_report()
    assert report.counts[Outcome.REPLACED] == 5
    assert (report.counts[Outcome.REWRITTEN], report.deleted) == (1, 1)
    after = tree(base_dir) | tree(data)
    del before[str(paths["rewritten"])]
    before, after = (
        {path: status for path, status in seen.items() if ".tempfleet-" not in path}
        for seen in (before, after)
    )
    assert before == after
    forgotten = {
        message.rpartition("/")[2]
        for message in caplog.messages
        if message.startswith("Forgot temporary file")
    }
    assert forgotten == {
        "linked: linked",
        "older-file: older",
        "symlink: symlink",
        "directory: directory",
        "outside: replaced",
    }
    assert len(manager.files) == 0
    assert_balanced(manager)


@needs_root
def test_a_strangers_file_is_no_rewrite(manager: TempFileManager, base_dir: Path, clock: FakeClock) -> None:
    path = write(base_dir / "file")
    manager.register(path, ttl=10)
    stranger = write(base_dir / "strangers", "precious")
    os.chown(stranger, 12345, -1)
    os.replace(stranger, path)
    clock.advance(10)
    assert [(verdict.outcome, verdict.reason) for verdict in manager.preview()] == [
        (Outcome.REPLACED, "owner")
    ]
    assert manager.cleanup_report().counts[Outcome.REPLACED] == 1
    assert path.read_text() == "precious"
    assert len(manager.files) == 0


@needs_root
def test_without_the_owner_check_a_strangers_file_is_no_rewrite_either(
    make_manager: MakeManager, base_dir: Path, clock: FakeClock
) -> None:
    manager = make_manager(owner_check=False)
    path = write(base_dir / "file")
    manager.register(path, ttl=10)
    rewrite(path)
    os.chown(path, 12345, -1)
    clock.advance(10)
    assert manager.cleanup_report().counts[Outcome.REPLACED] == 1
    assert path.exists()


def test_the_deadline_of_a_created_name_counts_for_what_is_written_there(
    manager: TempFileManager, clock: FakeClock
) -> None:
    made = manager.create(ttl=10)
    made.file.write(b"old")
    made.file.close()
    path = Path(made.name)
    rewrite(path)
    clock.advance(10)
    assert manager.cleanup() == 1
    assert not path.exists()


def test_a_dry_run_and_an_explanation_say_that_a_file_was_rewritten_and_change_nothing(
    manager: TempFileManager, base_dir: Path, clock: FakeClock, redis_client: redis.Redis
) -> None:
    path = write(base_dir / "file")
    manager.register(path, ttl=10)
    rewrite(path)
    clock.advance(10)
    before = snapshot(redis_client)
    (verdict,) = manager.preview()
    assert (verdict.outcome, verdict.reason) == (Outcome.REWRITTEN, "")
    text = str(manager.explain(path))
    assert "At the next clean-up it will be kept and expire later, because it was rewritten" in text
    assert snapshot(redis_client) == before
    assert path.exists()


def test_a_rewritten_file_stays_at_a_forced_clean_up_and_goes_at_the_next(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    path = write(base_dir / "file")
    manager.register(path)
    rewrite(path)
    clock.advance(60)
    assert manager.clear_all() == 0
    assert path.exists()
    assert manager.clear_all() == 1
    assert not path.exists()
    assert_balanced(manager)


def test_a_rewritten_file_is_not_quarantined(
    make_manager: MakeManager, base_dir: Path, clock: FakeClock
) -> None:
    manager = make_manager(quarantine_seconds=600)
    path = write(base_dir / "file")
    manager.register(path, ttl=10)
    rewrite(path)
    clock.advance(10)
    report = manager.cleanup_report()
    assert (report.counts[Outcome.REWRITTEN], report.set_aside) == (1, 0)
    assert list(manager.quarantined()) == []
    clock.advance(10)
    assert manager.cleanup_report().set_aside == 1
    assert_balanced(manager)


def test_the_file_of_a_quarantine_is_deleted_whatever_took_its_old_name(
    make_manager: MakeManager, base_dir: Path, clock: FakeClock
) -> None:
    manager = make_manager(quarantine_seconds=600)
    path = write(base_dir / "file")
    manager.register(path, ttl=10)
    clock.advance(10)
    assert manager.cleanup_report().set_aside == 1
    write(path, "a new one")
    clock.advance(600)
    assert manager.cleanup() == 1
    assert path.read_text() == "a new one"
    assert len(manager.files) == 0


def test_the_audit_log_has_a_line_for_a_rewrite(
    make_manager: MakeManager, base_dir: Path, tmp_path: Path, clock: FakeClock
) -> None:
    log = tmp_path / "audit.log"
    manager = make_manager(audit_log=str(log))
    path = write(base_dir / "file")
    old = manager.register(path, ttl=10)
    rewrite(path)
    clock.advance(10)
    manager.cleanup()
    (line,) = map(json.loads, log.read_text().splitlines())
    assert (line["outcome"], line["identity"], line["freed_bytes"]) == ("rewritten", old.identity, 0)


@needs_linux
@pytest.mark.parametrize("swap", ["rewrite", "old file back"])
def test_what_has_the_name_at_the_end_counts_if_it_changes_during_a_deletion(
    manager: TempFileManager, base_dir: Path, clock: FakeClock, swap: str
) -> None:
    path = write(base_dir / "file")
    manager.register(path, ttl=10)
    if swap != "rewrite":
        os.rename(path, base_dir / "kept")
        write(path)
    clock.advance(10)

    def change(point: str) -> None:
        if point == "guarded.found":
            failpoints.install(None)
            rewrite(path)

    failpoints.install(change)
    try:
        report = manager.cleanup_report()
    finally:
        failpoints.install(None)
    assert report.counts[Outcome.REWRITTEN] == 1
    clock.advance(10)
    assert manager.cleanup() == 1
    assert not path.exists()
    assert_balanced(manager)


def test_another_clean_up_is_asked_after_a_rewrite_that_its_holder_did_not_record(
    make_manager: MakeManager, base_dir: Path, clock: FakeClock
) -> None:
    manager = make_manager()
    path = write(base_dir / "file")
    manager.register(path, ttl=10)
    clock.advance(10)
    claim = manager.registry.claim(limit=1, lease_ms=1000)
    rewrite(path)
    (deletion,) = manager.cleaner.deleter.delete(claim.records, token=claim.token, may_go_on=lambda: True)
    assert deletion.outcome is Outcome.REWRITTEN
    clock.advance(1)
    assert manager.cleanup_report().counts[Outcome.REWRITTEN] == 1
    assert manager.registry.rewrite(claim.token, [deletion], now_ns=time.time_ns()) == 0
    assert_balanced(manager)


@needs_linux
@pytest.mark.parametrize("quarantine_seconds", [0, 600])
@pytest.mark.parametrize("created", [False, True])
@pytest.mark.parametrize("recovers_first", [False, True])
def test_a_rewrite_of_a_file_that_a_killed_process_had_moved_is_registered(
    real_client: redis.Redis,
    base_dir: Path,
    clock: FakeClock,
    make_real: MakeReal,
    quarantine_seconds: float,
    created: bool,
    recovers_first: bool,
) -> None:
    manager = make_real(quarantine_seconds=quarantine_seconds)
    if created:
        with manager.create(ttl=10).file as file:
            path = Path(file.name)
    else:
        path = write(base_dir / "file")
        manager.register(path, ttl=10)
    clock.advance(10)
    process = multiprocessing.get_context("fork").Process(target=_die_after_the_move, args=(manager,))
    process.start()
    process.join(20)
    assert process.exitcode == (-signal.SIGKILL if quarantine_seconds or not created else 0)
    assert not path.exists()
    write(path, "a new one")
    manager = make_real(quarantine_seconds=quarantine_seconds)
    clock.advance(60 if recovers_first else 120)
    manager.cleanup()
    clock.advance(120)
    manager.cleanup()
    if not created:
        assert manager.stats().total("rewritten") == 1
    if process.exitcode:
        for _ in range(3):
            clock.advance(3600)
            manager.cleanup()
        assert entries(base_dir) == []
    assert len(manager.files) == 0
    assert_balanced(manager)


def _die_after_the_move(manager: TempFileManager) -> None:
    failpoints.install(
        lambda point: (
            os.kill(os.getpid(), signal.SIGKILL) if point in ("guarded.moved", "set-aside.moved") else None
        )
    )
    manager.cleanup()


GUARD = """
from tempfleet.plugins import hookimpl

@hookimpl
def tempfleet_before_delete(files):
    return [file.path for file in files]
"""


def test_the_record_of_a_rewritten_file_goes_over_to_it_although_a_plug_in_keeps_it(
    packages: Packages, make_manager: MakeManager, base_dir: Path, clock: FakeClock
) -> None:
    packages.install("guard", GUARD)
    manager = make_manager()
    path = write(base_dir / "file")
    manager.register(path, ttl=10)
    rewrite(path)
    clock.advance(10)
    assert manager.cleanup_report().counts[Outcome.REWRITTEN] == 1
    record = manager.get_record(path)
    assert record is not None and record.last_error == "" and record.deadline_ms > clock.now_ms
    assert_balanced(manager)


def test_a_rewritten_file_makes_room_for_another_one(
    make_manager: MakeManager, base_dir: Path, clock: FakeClock
) -> None:
    manager = make_manager(max_files=1, quota="evict")
    path = write(base_dir / "file")
    manager.register(path)
    rewrite(path)
    clock.advance(10)
    manager.register(write(base_dir / "another"))
    assert not path.exists()
    assert_balanced(manager)


@pytest.mark.parametrize("change", ["rewrite", "write to it"])
def test_without_birth_times_the_last_change_counts_as_the_birth(
    store: Store, clock: FakeClock, base_dir: Path, change: str
) -> None:
    settings = Settings.load(base_dir=str(base_dir), audit_log="")
    volume = Registry(store, Volume("web-1", str(base_dir)))
    with Roots.open(settings, system=System(Capabilities())) as roots:
        path = write(base_dir / "file")
        volume.register([inspect(str(path), roots, ttl_ms=10_000)])
        if change == "rewrite":
            rewrite(path)
        else:
            write(path, "a new one")
        clock.advance(10)
        cleaner = Cleaner(volume, roots, settings)
        assert cleaner.clean_due().counts[Outcome.REWRITTEN] == 1
        clock.advance(10)
        assert cleaner.clean_due().deleted == 1
    assert not path.exists()


@pytest.mark.parametrize("known", [True, False])
def test_only_a_known_file_that_was_renewed_while_its_host_was_silent_can_be_rewritten(
    manager: TempFileManager, base_dir: Path, clock: FakeClock, known: bool
) -> None:
    path = write(base_dir / "file")
    clock.now_ms = time.time_ns() // 1_000_000 - 60_000
    if known:
        manager.register(path, ttl=10)
    # As another host does it by a message: it cannot see the file.
    manager.registry.register([NewFile(str(path), 20_000, flags=Flag.UNVERIFIED)])
    clock.advance(5)
    rewrite(path)
    clock.advance(15)
    report = manager.cleanup_report()
    record = manager.get_record(path)
    if known:
        assert report.counts[Outcome.REWRITTEN] == 1
        assert record is not None and record.flags == Flag.SHARED
    else:
        assert [deletion.reason for deletion in report.latest] == ["too-young"]
        assert record is None
    assert path.exists()
    assert_balanced(manager)
