"""Eviction on small file systems that are really full: tmpfs and ext4, by bytes and by inodes."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from deletion_support import file_system, mounted, needs_linux, needs_root
from support import Packages, assert_balanced, entries, python, wait_until
from tempfleet import EvictionReport, SettingsError, TempFileManager
from tempfleet.capacity.evictor import Evictor
from tempfleet.embedded import EmbeddedServer
from tempfleet.errors import PluginFailed
from tempfleet.registry.keys import FULL
from tempfleet.registry.values import Nack
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]
MIB = 1 << 20

pytestmark = [needs_root, needs_linux]


@pytest.fixture
def mounts() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


MakeFull = Callable[..., TempFileManager]


@pytest.fixture
def on_disk(make_manager: MakeManager, mounts: ExitStack, tmp_path: Path) -> MakeFull:
    """A manager whose base directory is alone on a tmpfs of 20 MiB, or on a mount with *options*."""

    def make(options: str = "size=20m", **settings: object) -> TempFileManager:
        at = mounts.enter_context(
            mounted(["-t", "tmpfs", "-o", f"mode=700,{options}", "tmpfs"], tmp_path / "disk")
        )
        values = {"allowed_roots": (str(at),), "evict_above": 80, "evict_down_to": 50, **settings}
        manager = make_manager(at, **values)
        mounts.callback(manager.close)
        return manager

    return make


def fill(
    manager: TempFileManager, *names: str, size: int = MIB, clock: FakeClock | None = None
) -> list[Path]:
    """Register files of *size* bytes, a second apart."""
    paths = [Path(manager.base_dir) / name for name in names]
    for path in paths:
        path.write_bytes(b"x" * size)
        manager.register(path)
        if clock is not None:
            clock.advance(1)
    return paths


def numbered(count: int, name: str = "f") -> list[str]:
    return [f"{name}{n:03}" for n in range(count)]


def evicted(report: EvictionReport) -> list[str]:
    return [os.path.basename(file.record.path) for file in report.files]


def percent(manager: TempFileManager) -> float:
    disk = os.statvfs(manager.base_dir)
    return 100 * (disk.f_blocks - disk.f_bfree) / (disk.f_blocks - disk.f_bfree + disk.f_bavail)


# -- down from the high mark


def test_below_the_high_mark_nothing_is_evicted(on_disk: MakeFull) -> None:
    manager = on_disk()
    fill(manager, *numbered(15))
    report = manager.evict()
    assert (report.evicted, report.wanted_bytes, report.before, report.is_stuck) == (0, 0, [], False)
    assert len(entries(Path(manager.base_dir))) == 15


def test_without_marks_nothing_is_evicted_however_full_the_disk_is(on_disk: MakeFull) -> None:
    manager = on_disk(evict_above=0)
    fill(manager, *numbered(19))
    assert manager.evict().evicted == 0
    assert len(entries(Path(manager.base_dir))) == 19


def test_above_the_high_mark_the_oldest_are_evicted_down_to_the_low_one(
    on_disk: MakeFull, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    manager = on_disk()
    names = numbered(18)
    fill(manager, *names, clock=clock)
    before = os.statvfs(manager.base_dir).f_bfree
    with caplog.at_level(logging.INFO, "tempfleet"):
        report = manager.evict()
    freed = (os.statvfs(manager.base_dir).f_bfree - before) * 4096
    assert evicted(report) == names[: report.evicted]
    assert entries(Path(manager.base_dir)) == names[report.evicted :]
    assert 44 < percent(manager) < 50.5
    assert report.wanted_bytes <= report.freed_bytes < report.wanted_bytes + MIB
    assert report.freed_bytes == report.evicted * MIB
    assert (
        abs(freed - report.freed_bytes) <= 64 * 1024
    )  # the private directory and the audit log use space too
    assert (
        f"wanted to free {report.wanted_bytes} bytes and 0 inodes, freed {report.freed_bytes} bytes"
        in caplog.text
    )
    totals = manager.stats().totals
    assert (totals["evicted"], totals["evicted_bytes"]) == (report.evicted, report.freed_bytes)
    assert totals["deleted"] == report.evicted
    assert_balanced(manager)


def test_between_the_marks_eviction_does_not_flap(on_disk: MakeFull) -> None:
    manager = on_disk()
    fill(manager, *numbered(18))
    assert manager.evict().evicted > 0
    for n in range(5):
        fill(manager, f"later{n}")
        assert manager.evict().evicted == 0
    assert 50 < percent(manager) < 80


def test_inodes_are_freed_as_bytes_are(on_disk: MakeFull) -> None:
    manager = on_disk("size=20m,nr_inodes=200")
    manager.cleaner.prepare()
    taken = 0
    with pytest.raises(OSError, match="No space"):
        while True:
            fill(manager, f"f{taken:03}", size=1)
            taken += 1
    report = manager.evict()
    disk = os.statvfs(manager.base_dir)
    assert (disk.f_files - disk.f_ffree) <= disk.f_files * 0.5 + 1  # the audit log was created meanwhile
    assert (report.wanted_bytes, report.is_stuck) == (0, False)
    assert report.wanted_files == report.freed_files == report.evicted
    assert_balanced(manager)


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_a_completely_full_disk_is_brought_down(kind: str, make_manager: MakeManager, tmp_path: Path) -> None:
    with file_system(kind, tmp_path / "disk") as disk:
        disk.chmod(0o700)
        base = disk / "base"
        manager = make_manager(base, allowed_roots=(str(base),), evict_above=90, evict_down_to=60)
        with pytest.raises(OSError, match="No space"):
            for name in numbered(1000):
                fill(manager, name)
        assert percent(manager) > 97
        (base / numbered(1000)[len(manager.files)]).unlink()
        report = manager.evict()
        assert report.freed_bytes >= report.wanted_bytes > 0
        assert percent(manager) < 63  # ext4 reports its own use late
        assert manager.evict().evicted == 0
        manager.close()


# -- which files stay


def test_files_held_in_use_linked_or_not_registered_are_never_evicted(on_disk: MakeFull) -> None:
    manager = on_disk(evict_down_to=5)
    base = Path(manager.base_dir)
    held, used, linked, *rest = fill(manager, "held", "used", "linked", *numbered(13))
    manager.hold(held)
    (base / "stranger").write_bytes(b"x" * MIB)
    (base / "other").hardlink_to(linked)
    due = manager.get_record(used).due_ms  # type: ignore[union-attr]
    with used.open():
        report = manager.evict()
        assert sorted(evicted(report)) == sorted(path.name for path in rest)
        assert entries(base) == ["held", "linked", "other", "stranger", "used"]
        assert report.exhausted and not report.is_stuck
        record = manager.get_record(used)
        assert record is not None and (record.due_ms, record.last_error) == (due, "")
    assert_balanced(manager)


def test_a_file_that_has_another_name_now_is_not_evicted(on_disk: MakeFull) -> None:
    manager = on_disk(evict_down_to=5)
    paths = fill(manager, *numbered(17))
    paths[0].rename(paths[0].with_name("mine"))
    paths[0].write_bytes(b"new")
    manager.evict()
    assert entries(Path(manager.base_dir)) == [paths[0].name, "mine"]


def test_a_file_that_failed_before_waits_for_its_own_retry(on_disk: MakeFull, clock: FakeClock) -> None:
    manager = on_disk(evict_down_to=5)
    failed, *_ = fill(manager, *numbered(17))
    claim = manager.registry.claim_paths([str(failed)], lease_ms=1000, until_ms=clock.now_ms)
    manager.registry.nack(claim.token, [Nack(str(failed), delay_ms=60_000, reason="EPERM")])
    manager.evict()
    assert entries(Path(manager.base_dir)) == [failed.name]


# -- the quarantine


def test_quarantined_files_are_evicted_first_and_evicted_files_are_not_quarantined(
    on_disk: MakeFull, clock: FakeClock
) -> None:
    manager = on_disk(quarantine_seconds=600, evict_down_to=60)
    for name in ("q0", "q1"):
        path = Path(manager.base_dir) / name
        path.write_bytes(b"x" * MIB)
        manager.register(path, ttl=1)
        clock.advance(2)
        assert manager.cleanup_report().set_aside == 1
    names = numbered(15)
    fill(manager, *names, clock=clock)
    report = manager.evict()
    assert [file.record.is_quarantined for file in report.files[:3]] == [True, True, False]
    assert manager.quarantined() == []
    assert percent(manager) < 60.5
    assert evicted(report)[2:] == names[: report.evicted - 2]
    assert_balanced(manager)


def test_the_quarantine_alone_may_free_enough(on_disk: MakeFull, clock: FakeClock) -> None:
    manager = on_disk(quarantine_seconds=600, evict_above=80, evict_down_to=71)
    paths = fill(manager, *numbered(14), clock=clock)
    late = Path(manager.base_dir) / "late"
    late.write_bytes(b"x" * 3 * MIB)
    manager.register(late, ttl=1)
    clock.advance(2)
    assert manager.cleanup_report().set_aside == 1
    assert manager.evict().evicted == 1
    assert all(path.exists() for path in paths)


# -- the order


@pytest.mark.parametrize(
    ("policy", "first"),
    [
        ("oldest", ["a", "b"]),
        ("largest", ["b"]),
        ("least-recently-used", ["c", "b"]),
        ("size-age", ["b"]),
    ],
)
def test_files_are_evicted_in_the_order_of_the_policy(
    on_disk: MakeFull, clock: FakeClock, policy: str, first: list[str]
) -> None:
    manager = on_disk(eviction_policy=policy, evict_down_to=70)
    for name, size, used in (("a", 2, 300), ("b", 10, 200), ("c", 1, 100), ("d", 4, 400)):
        (path,) = fill(manager, name, size=size * MIB, clock=clock)
        os.utime(path, (used, used))
    assert evicted(manager.evict()) == first


def test_due_files_are_evicted_first(on_disk: MakeFull, clock: FakeClock) -> None:
    manager = on_disk(evict_down_to=75)
    fill(manager, *numbered(16), clock=clock)
    due = Path(manager.base_dir) / "due"
    due.write_bytes(b"x" * MIB)
    manager.register(due, ttl=1)
    clock.advance(2)
    assert evicted(manager.evict())[0] == "due"


def test_a_directory_counts_with_its_content_and_is_evicted_as_a_whole(on_disk: MakeFull) -> None:
    manager = on_disk(eviction_policy="largest", evict_down_to=66)
    fill(manager, *numbered(13))
    with manager.create_dir() as directory:
        for name in numbered(4):
            (Path(directory.path) / name).write_bytes(b"x" * MIB)
        report = manager.evict()
        assert evicted(report) == [os.path.basename(directory.path)]
        assert report.freed_bytes >= 4 * MIB
        assert percent(manager) <= 70


# -- dry runs


@pytest.mark.parametrize("batch_size", [2, 500])
def test_a_dry_run_shows_what_the_real_run_then_does_and_changes_nothing(
    on_disk: MakeFull, clock: FakeClock, batch_size: int
) -> None:
    manager = on_disk(eviction_policy="largest", batch_size=batch_size, quarantine_seconds=600)
    for n in range(40):
        fill(manager, f"f{n:02}", size=(n * 37 % 40) * 22_000, clock=clock)
    before = (entries(Path(manager.base_dir)), manager.stats().as_dict())
    used = Path(manager.base_dir) / "f13"
    with used.open():
        promised = manager.evict(dry_run=True)
        assert (entries(Path(manager.base_dir)), manager.stats().as_dict()) == before
        done = manager.evict()
    assert evicted(promised) == evicted(done) != []
    assert (promised.freed_bytes, promised.wanted_bytes) == (done.freed_bytes, done.wanted_bytes)
    assert used.exists()
    assert_balanced(manager)


# -- when no other file can be deleted


def test_a_disk_that_stays_full_is_logged_once_degrades_health_and_is_retried_rarely(
    on_disk: MakeFull, caplog: pytest.LogCaptureFixture
) -> None:
    manager = on_disk(timer_interval_seconds=3600)
    (Path(manager.base_dir) / "stranger").write_bytes(b"x" * 18 * MIB)
    assert manager.health_check()["status"] == "healthy"
    with caplog.at_level(logging.WARNING, "tempfleet"):
        first = manager.evictor.watch()
        assert first is not None and first.is_stuck and first.evicted == 0
        assert manager.evictor.watch() is None
        assert manager.evict().is_stuck  # a person may evict at any time
    assert caplog.text.count("Nothing more can be evicted") == 1
    health = manager.health_check()
    assert health["status"] == "degraded"
    assert "more than 80 %, and nothing more can be evicted" in health["warning"]
    (Path(manager.base_dir) / "stranger").unlink()
    assert manager.health_check()["status"] == "healthy"
    assert manager.evictor.watch() is None
    assert FULL not in manager.stats().meta


def test_a_new_process_clears_the_warning_when_there_is_room_again(
    on_disk: MakeFull, redis_client: redis.Redis
) -> None:
    manager = on_disk()
    assert manager.evictor.watch() is None
    assert redis_client.keys("*") == []  # a volume without a file stores no key
    manager.registry.set_meta(FULL, "1")
    assert Evictor(manager.cleaner, manager.evictor.policy).watch() is None
    assert FULL not in manager.stats().meta


def test_passes_that_free_nothing_wait_longer_each_time_up_to_a_bound(on_disk: MakeFull) -> None:
    manager = on_disk(timer_interval_seconds=0.001)
    (Path(manager.base_dir) / "stranger").write_bytes(b"x" * 18 * MIB)
    waits = []
    while len(waits) < 7:
        if manager.evictor.watch() is not None:
            waits.append(manager.evictor.backoff.intervals)
    assert waits == [1, 2, 4, 8, 16, 16, 16]
    fill(manager, "f")
    assert wait_until(manager.evictor.watch).evicted == 1
    assert manager.evictor.backoff.intervals == 0


def test_a_stop_ends_the_eviction(on_disk: MakeFull) -> None:
    manager = on_disk(batch_size=1)
    fill(manager, *numbered(18))
    stop = threading.Event()
    stop.set()
    report = manager.evictor.evict(stop=stop)
    assert (report.evicted, report.is_stuck) == (0, False)
    assert_balanced(manager)


def test_a_dry_run_that_needs_more_than_all_files_lists_each_file_once(on_disk: MakeFull) -> None:
    manager = on_disk(evict_down_to=5)
    (Path(manager.base_dir) / "stranger").write_bytes(b"x" * 10 * MIB)
    names = numbered(7)
    fill(manager, *names)
    promised = manager.evict(dry_run=True)
    assert (sorted(evicted(promised)), promised.exhausted) == (names, True)


# -- several at once


@pytest.mark.process
def test_two_evictors_at_once_delete_no_file_twice_and_hardly_more_than_needed(
    real_server: EmbeddedServer, real_client: redis.Redis, tmp_path: Path
) -> None:
    code = """
import sys
from tempfleet import Settings, TempFileManager
base, url = sys.argv[1:]
manager = TempFileManager(settings=Settings.load(
    base_dir=base, redis_url=url, host="web-1", allowed_roots=base, evict_above=80, evict_down_to=50, batch_size=5))
print("ready", flush=True)
sys.stdin.readline()
report = manager.evict()
print(report.evicted, report.wanted_bytes, flush=True)
"""
    size = 64 * 1024
    with mounted(["-t", "tmpfs", "-o", "mode=700,size=20m", "tmpfs"], tmp_path / "disk") as at:
        manager = TempFileManager(at, host="web-1", client=real_client)
        fill(manager, *numbered(280), size=size)
        crowd = [python(code, at, real_server.unix_url) for _ in range(3)]
        for process in crowd:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in crowd:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        counts = [list(map(int, process.communicate(timeout=60)[0].split())) for process in crowd]
        needed = max(wanted for _, wanted in counts) // size + 1
        total = sum(evicted for evicted, _ in counts)
        assert total == manager.stats().total("deleted") == 280 - len(entries(at))
        assert needed <= total <= needed + 3 * 5
        assert_balanced(manager)
        manager.close()


# -- plug-ins

ARCHIVE = """
    from tempfleet.plugins import hookimpl

    @hookimpl
    def tempfleet_before_delete(files):
        return [file.path for file in files if file.path.endswith("f003")]

    @hookimpl
    def tempfleet_eviction_policies():
        return {"youngest": lambda file: file.age_ms, "oldest": lambda file: file.age_ms, "broken": lambda file: 1 / 0}
"""

FAILING = """
    from tempfleet.plugins import hookimpl

    calls = 0

    @hookimpl
    def tempfleet_before_delete(files):
        global calls
        calls += 1
        raise RuntimeError("no answer")
"""


def test_a_plug_in_may_give_the_policy_and_veto_and_a_dry_run_shows_it(
    packages: Packages, on_disk: MakeFull, clock: FakeClock
) -> None:
    packages.install("archive", ARCHIVE)
    manager = on_disk(eviction_policy="youngest", evict_down_to=75)
    names = numbered(18)
    fill(manager, *names[4:], "f002", "f001", "f000", "f003", clock=clock)
    promised = evicted(manager.evict(dry_run=True))
    assert promised == ["f000", "f001", "f002"]
    assert evicted(manager.evict()) == promised
    assert_balanced(manager)


def test_a_plug_in_cannot_replace_a_policy_of_ours(
    packages: Packages, on_disk: MakeFull, clock: FakeClock
) -> None:
    packages.install("archive", ARCHIVE)
    manager = on_disk(evict_down_to=75)
    fill(manager, *numbered(17), clock=clock)
    assert evicted(manager.evict())[0] == "f000"
    with pytest.raises(
        SettingsError, match="must be one of broken, largest, least-recently-used, oldest, size-age, youngest"
    ):
        on_disk(eviction_policy="eldest")


def test_a_policy_that_fails_evicts_nothing_and_degrades_health(
    packages: Packages, on_disk: MakeFull
) -> None:
    packages.install("archive", ARCHIVE)
    manager = on_disk(eviction_policy="broken", timer_interval_seconds=3600)
    fill(manager, *numbered(17))
    with pytest.raises(PluginFailed, match=r"archive\.broken"):
        manager.evictor.watch()
    assert manager.evictor.watch() is None  # not again at once
    assert len(entries(Path(manager.base_dir))) == 17
    assert "nothing more can be evicted" in manager.health_check()["warning"]


HANGING = """
    import threading
    from tempfleet.plugins import hookimpl

    gate = threading.Event()

    @hookimpl
    def tempfleet_eviction_policies():
        return {"slow": lambda file: gate.wait() and 1}
"""


def test_a_policy_that_hangs_stops_no_timer_and_degrades_health_until_it_returns(
    packages: Packages, on_disk: MakeFull
) -> None:
    packages.install("hanging", HANGING)
    manager = on_disk(eviction_policy="slow", plugin_timeout_seconds=0.5, evict_down_to=75)
    fill(manager, *numbered(17))
    for _ in range(3):
        with pytest.raises(PluginFailed, match=r"hanging\.slow"):
            manager.evict()
        manager.cleanup()
    assert len(entries(Path(manager.base_dir))) == 17
    assert "hanging is switched off (slow: an earlier call" in manager.health_check()["warning"]
    assert "no file is evicted by its policy" in manager.health_check()["warning"]
    packages.module("hanging").gate.set()


def test_a_veto_that_fails_ends_the_pass_and_is_not_called_for_every_file(
    packages: Packages, on_disk: MakeFull
) -> None:
    packages.install("guard", FAILING)
    manager = on_disk(timer_interval_seconds=3600, batch_size=2)
    fill(manager, *numbered(17))
    report = manager.evict()
    assert (report.evicted, report.is_stuck) == (0, True)
    assert packages.module("guard").calls == 1
    assert len(entries(Path(manager.base_dir))) == 17


def test_a_rewritten_file_is_evicted_by_its_new_identity(on_disk: MakeFull, clock: FakeClock) -> None:
    manager = on_disk()
    paths = fill(manager, *numbered(17))
    for path in paths:
        part = path.with_name("part")
        part.write_bytes(b"y" * MIB)
        os.replace(part, path)
    clock.advance(60)
    assert manager.evict(dry_run=True).evicted == manager.evict().evicted == 0
    assert manager.stats().total("rewritten") == 17
    assert manager.evict().evicted >= 7
    assert_balanced(manager)
