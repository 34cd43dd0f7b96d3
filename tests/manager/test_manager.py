"""TempFileManager: each call of the specification, and ours beside it."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import fakeredis
import pytest
import redis

from support import assert_balanced
from tempfleet import (
    AlreadyClaimed,
    BatchError,
    EvictingRedis,
    FileMissing,
    InvalidTTL,
    NotRegistered,
    Outcome,
    Settings,
    SettingsError,
    State,
    TempFileManager,
    UnsafePath,
    VolumeUnavailable,
)
from tempfleet.settings.settings import LONGEST_TTL_SECONDS
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]


@pytest.fixture
def path(manager: TempFileManager, base_dir: Path) -> Path:
    """A file in the base directory, not registered yet."""
    path = base_dir.resolve() / "file"
    path.write_text("content")
    return path


def others(base_dir: Path, *names: str) -> list[Path]:
    paths = [base_dir.resolve() / name for name in names]
    for path in paths:
        path.write_text(path.name)
    return paths


# -- making a manager


def test_a_base_directory_is_made_private(manager: TempFileManager, base_dir: Path) -> None:
    assert base_dir.stat().st_mode & 0o777 == 0o700
    assert manager.base_dir == str(base_dir)


def test_a_base_directory_that_cannot_be_made_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        TempFileManager(tmp_path / "file" / "base", client=fakeredis.FakeRedis())
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        TempFileManager(tmp_path / "file", client=fakeredis.FakeRedis())


def test_the_attributes_of_the_specification(make_manager: MakeManager, base_dir: Path) -> None:
    manager = make_manager(max_age=1800)
    assert (manager.base_dir, manager.max_age, len(manager.files)) == (str(base_dir), 1800, 0)
    assert isinstance(manager.lock, type(threading.Lock()))
    assert repr(manager) == f"TempFileManager({str(base_dir)!r}, max_age=1800, host='web-1')"


def test_the_lock_is_the_callers_and_nothing_here_takes_it(manager: TempFileManager, path: Path) -> None:
    with manager.lock:
        manager.register_file(path)
        assert manager.is_temp_file(path)
        assert manager.get_file_age(path) == 0
        assert manager.clear_all() == 1


@pytest.mark.parametrize("max_age", [0, -1, float("nan"), LONGEST_TTL_SECONDS + 1, "3600", True])
def test_a_max_age_that_is_no_time_to_live_is_refused_at_once(tmp_path: Path, max_age: float) -> None:
    with pytest.raises(InvalidTTL):
        TempFileManager(tmp_path / "base", max_age, client=fakeredis.FakeRedis())
    assert not (tmp_path / "base").exists()


def test_max_age_may_be_changed_and_holds_for_what_comes_after(manager: TempFileManager, path: Path) -> None:
    manager.max_age = 60
    record = manager.register(path)
    assert record.deadline_ms - record.registered_ms == 60_000
    assert manager.health_check()["max_age"] == 60


def test_arguments_go_before_settings_and_settings_before_defaults(tmp_path: Path) -> None:
    settings = Settings.load(base_dir=str(tmp_path / "a"), max_age_seconds=5, host="web-1")
    manager = TempFileManager(tmp_path / "b", settings=settings, client=fakeredis.FakeRedis())
    assert (manager.base_dir, manager.max_age) == (str(tmp_path / "b"), 5)
    assert manager.volume.host == "web-1"
    assert TempFileManager(settings=settings, client=fakeredis.FakeRedis()).base_dir == str(tmp_path / "a")


def test_two_names_of_one_directory_are_one_volume(
    make_manager: MakeManager, tmp_path: Path, path: Path
) -> None:
    (tmp_path / "link").symlink_to("base")
    manager = make_manager(tmp_path / "link")
    make_manager().register(path)
    assert manager.is_temp_file(path)
    assert manager.is_temp_file(tmp_path / "link" / "file")


def test_managers_of_two_base_directories_never_see_each_others_files(
    make_manager: MakeManager, tmp_path: Path
) -> None:
    one, two = make_manager(tmp_path / "one"), make_manager(tmp_path / "two")
    with one.create() as mine, two.create() as theirs:
        mine.close()
        assert one.is_temp_file(mine)
        assert not one.is_temp_file(theirs)
        assert (len(one.files), len(two.files)) == (1, 1)
        mine.close()  # an open file would be kept
        assert one.clear_all() == 1
        assert os.path.exists(theirs)


def test_a_manager_that_is_dropped_holds_no_descriptor(tmp_path: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc here to count descriptors in")
    client = fakeredis.FakeRedis()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        TempFileManager(tmp_path, client=client)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_closed_manager_says_so_and_loses_nothing(
    manager: TempFileManager, make_manager: MakeManager, path: Path
) -> None:
    manager.register(path)
    manager.close()
    manager.close()
    with pytest.raises(VolumeUnavailable, match="closed"):
        manager.cleanup(force=True)
    with pytest.raises(VolumeUnavailable):
        manager.register_file(path)
    with pytest.raises(VolumeUnavailable):
        manager.create()
    assert make_manager().cleanup(force=True) == 1


def test_a_directory_with_another_volumes_base_directory_in_it_is_refused(
    make_manager: MakeManager, base_dir: Path
) -> None:
    inner = make_manager(base_dir / "tree" / "inner")
    inner.create_dir()
    (base_dir / "tree" / "inner-but-not").mkdir()
    outer = make_manager()
    for path in (base_dir / "tree", base_dir / "tree" / "inner"):
        with pytest.raises(UnsafePath) as refused:
            outer.register(path, directory=True)
        assert refused.value.reason == "root"
    assert outer.register(base_dir / "tree" / "inner-but-not", directory=True).is_directory


def test_a_redis_that_may_evict_is_refused_before_anything_is_entrusted_to_it(
    real_client: redis.Redis, tmp_path: Path
) -> None:
    real_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        manager = TempFileManager(tmp_path / "base", client=real_client)
        (tmp_path / "base" / "file").touch()
        calls: list[Callable[[], object]] = [
            lambda: manager.register_file(tmp_path / "base" / "file"),
            manager.create,
            manager.cleanup,
            manager.clear_all,
            manager.preview,
            lambda: len(manager.files),
            manager.stats,
        ]
        for call in calls:
            with pytest.raises(EvictingRedis, match="allkeys-lru"):
                call()
        assert manager.health_check()["status"] == "unhealthy"
        assert real_client.keys() == []
    finally:
        real_client.config_set("maxmemory-policy", "noeviction")
    assert manager.cleanup() == 0
    manager.close()


# -- register


def test_registering_returns_the_record(manager: TempFileManager, path: Path, clock: FakeClock) -> None:
    record = manager.register(path, ttl=60, tags=["a", "b"])
    assert (record.path, record.size_bytes, record.uid) == (str(path), 7, os.geteuid())
    assert (record.registered_ms, record.deadline_ms) == (clock.now_ms, clock.now_ms + 60_000)
    assert (record.state, record.tags, record.attempts) == (State.WAITING, ("a", "b"), 0)
    assert manager.get_record(path) == record


def test_a_path_may_be_text_bytes_or_a_path(manager: TempFileManager, path: Path) -> None:
    for form in (str(path), os.fsencode(path), path):
        manager.register_file(form)
        assert manager.is_temp_file(form)
    assert len(manager.files) == 1


def test_registering_again_restarts_the_age_and_never_shortens_the_promise(
    manager: TempFileManager, path: Path, clock: FakeClock
) -> None:
    manager.register(path, ttl=100)
    clock.advance(50)
    record = manager.register(path, ttl=10)
    assert record.deadline_ms == clock.now_ms + 50_000
    assert manager.get_file_age(path) == 0
    assert manager.register(path, ttl=100).deadline_ms == clock.now_ms + 100_000
    assert manager.stats().total("registered") == 1


def test_register_file_logs_the_specifications_lines(
    manager: TempFileManager, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(manager.files) == 0
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    manager.register_file(path)
    manager.register_file(path.with_name("missing"))
    assert caplog.messages == [
        f"Registered temporary file: {path}",
        f"Attempted to register non-existent file: {path.with_name('missing')}",
    ]


def test_a_time_to_live_of_its_own(manager: TempFileManager, base_dir: Path, clock: FakeClock) -> None:
    short, long = others(base_dir, "short", "long")
    manager.register_file(short, ttl=5)
    manager.register_file(long)
    clock.advance(5)
    assert manager.cleanup() == 1
    assert (short.exists(), long.exists()) == (False, True)


def test_many_files_are_registered_at_once(manager: TempFileManager, base_dir: Path) -> None:
    paths = others(base_dir, *(str(n) for n in range(1100)))
    records = manager.register_many(paths, ttl=60, tags=["batch"])
    assert [record.path for record in records] == [str(path) for path in paths]
    assert len(manager.files) == 1100
    assert manager.clear_all() == 1100


def test_of_many_files_the_bad_ones_are_named_and_the_others_are_registered(
    manager: TempFileManager, base_dir: Path
) -> None:
    good, also = others(base_dir, "good", "also")
    (base_dir / "directory").mkdir()
    with pytest.raises(BatchError) as error:
        manager.register_many([good, base_dir / "missing", base_dir / "directory", also, "", "a\0b"])
    assert [record.path for record in error.value.records] == [str(good), str(also)]
    kinds = [type(why) for why in error.value.errors.values()]
    assert kinds == [FileMissing, UnsafePath, UnsafePath, UnsafePath]
    assert len(manager.files) == 2


def test_registering_a_directory_takes_saying_so(manager: TempFileManager, base_dir: Path) -> None:
    (base_dir / "tree" / "deep").mkdir(parents=True)
    with pytest.raises(UnsafePath) as error:
        manager.register(base_dir / "tree")
    assert error.value.reason == "directory"
    assert manager.register(base_dir / "tree", directory=True).is_directory
    assert manager.clear_all() == 1
    assert not (base_dir / "tree").exists()


def test_another_file_under_the_name_replaces_the_record(
    manager: TempFileManager, path: Path, clock: FakeClock
) -> None:
    manager.register(path, ttl=100)
    path.unlink()
    path.write_text("something new")
    clock.advance(90)
    record = manager.register(path, ttl=20)
    assert (record.size_bytes, record.deadline_ms) == (13, clock.now_ms + 20_000)
    clock.advance(20)
    assert manager.cleanup() == 1
    assert_balanced(manager)


# -- keep, or let go


def test_renewing_moves_the_deadline_later_and_never_earlier(
    manager: TempFileManager, path: Path, clock: FakeClock
) -> None:
    manager.register(path, ttl=60)
    assert manager.renew(path, ttl=10) == (clock.now_ms + 60_000) / 1000
    assert manager.renew(path) == (clock.now_ms + 3_600_000) / 1000
    clock.advance(60)
    assert manager.cleanup() == 0
    assert manager.get_file_age(path) == 60


def test_a_held_file_stays_whatever_its_deadline(
    manager: TempFileManager, path: Path, clock: FakeClock
) -> None:
    manager.register(path, ttl=1)
    manager.hold(path)
    clock.advance(10**6)
    assert manager.clear_all() == manager.cleanup() == 0
    assert manager.unhold(path)
    assert not manager.unhold(path)
    assert manager.cleanup() == 1


def test_a_hold_ends_by_itself(manager: TempFileManager, path: Path, clock: FakeClock) -> None:
    manager.register(path, ttl=1)
    manager.hold(path, seconds=100)
    clock.advance(99)
    assert manager.cleanup() == 0
    clock.advance(1)
    assert manager.cleanup() == 1


def test_a_released_file_is_its_users_again(manager: TempFileManager, path: Path, clock: FakeClock) -> None:
    manager.register(path, ttl=1)
    manager.unregister(path)
    assert not manager.is_temp_file(path)
    clock.advance(10)
    assert manager.cleanup(force=True) == 0
    assert path.exists()
    assert_balanced(manager)


def test_what_is_not_registered_cannot_be_kept_or_let_go(manager: TempFileManager, path: Path) -> None:
    for call in (manager.renew, manager.hold, manager.unhold, manager.unregister):
        with pytest.raises(NotRegistered) as error:
            call(path)
        assert error.value.path == str(path)
    assert manager.stats().totals == {}


def test_what_is_being_deleted_can_be_neither_registered_nor_kept_nor_let_go(
    manager: TempFileManager, path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    manager.register(path, ttl=1)
    clock.advance(1)
    manager.registry.claim(limit=1, lease_ms=60_000)
    for call in (manager.register, manager.renew, manager.hold, manager.unregister):
        with pytest.raises(AlreadyClaimed) as error:
            call(path)
        assert error.value.path == str(path)
    with pytest.raises(BatchError) as batch:
        manager.register_many([path])
    assert isinstance(batch.value.errors[str(path)], AlreadyClaimed)
    manager.register_file(path)
    assert "is being deleted at this moment" in caplog.messages[-1]
    record = manager.get_record(path)
    assert record is not None
    assert record.state is State.LEASED
    assert_balanced(manager)


# -- ask


def test_the_age_is_counted_from_registration_by_the_registrys_clock(
    manager: TempFileManager, path: Path, clock: FakeClock
) -> None:
    assert manager.get_file_age(path) is None
    manager.register_file(path)
    assert manager.get_file_age(path) == 0
    clock.advance(1.5)
    assert manager.get_file_age(path) == 1.5
    clock.advance(-10)
    assert manager.get_file_age(path) == 0


def test_being_registered_says_nothing_of_being_there(manager: TempFileManager, path: Path) -> None:
    manager.register_file(path)
    path.unlink()
    assert manager.is_temp_file(path)


def test_files_that_fall_due_soon_come_soonest_first(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    for seconds in (30, 10, 20, 99):
        (path,) = others(base_dir, str(seconds))
        manager.register(path, ttl=seconds)
    assert [Path(record.path).name for record in manager.files_due_within(30)] == ["10", "20", "30"]
    assert [Path(record.path).name for record in manager.files_due_within(30, limit=1)] == ["10"]
    clock.advance(15)
    assert [Path(record.path).name for record in manager.files_due_within(0)] == ["10"]


def test_a_file_is_near_expiry_after_80_percent_of_its_own_life(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    for seconds in (100, 40):
        (path,) = others(base_dir, str(seconds))
        manager.register(path, ttl=seconds)
    clock.advance(33)
    assert [Path(record.path).name for record in manager.near_expiry()] == ["40"]
    assert [Path(record.path).name for record in manager.near_expiry(0.3)] == ["40", "100"]
    for nonsense in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            manager.near_expiry(nonsense)


def test_records_can_be_listed_by_state(manager: TempFileManager, base_dir: Path) -> None:
    waiting, held = others(base_dir, "waiting", "held")
    manager.register_many([waiting, held])
    manager.hold(held)
    assert {Path(record.path).name for record in manager.records()} == {"waiting", "held"}
    assert [Path(record.path).name for record in manager.records(state=State.HELD)] == ["held"]
    assert list(manager.records(state=State.DEAD)) == []


def test_stats_are_of_one_instant_and_balance(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    paths = others(base_dir, *"abcd")
    manager.register_many(paths, ttl=10)
    manager.hold(paths[0])
    manager.unregister(paths[1])
    clock.advance(12)
    stats = manager.stats()
    assert (stats.active, stats.waiting, stats.held, stats.due, stats.overdue_seconds) == (3, 2, 1, 2, 2.0)
    assert (stats.total("registered"), stats.total("released"), stats.bytes) == (4, 1, 3)
    assert manager.cleanup() == 2
    assert manager.stats().histogram("lag").count == 2
    assert manager.stats().histogram("duration").count == 1
    assert_balanced(manager)


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"1 2 3", b"1 a b c d e f\n", b"1 1 1 1 x - -1\n{"])
def test_a_damaged_record_hides_no_other_and_deletes_nothing(
    manager: TempFileManager, base_dir: Path, redis_client: redis.Redis, clock: FakeClock, damage: bytes
) -> None:
    good, bad = others(base_dir, "good", "bad")
    manager.register_many([good, bad])
    redis_client.hset(f"tempfleet:{{{manager.volume}}}:records", os.fsencode(bad), damage)
    assert str(good) in {record.path for record in manager.records()}
    clock.advance(3600)
    assert {str(good)} <= {deletion.path for deletion in manager.preview()}
    assert manager.cleanup() == 1
    assert (good.exists(), bad.exists()) == (False, True)
    assert list(manager.registry.dead_paths()) == [[str(bad)]]  # for a person: dropped, its file would leak
    assert redis_client.hget(f"tempfleet:{{{manager.volume}}}:errors", os.fsencode(bad)) == b"no-identity"


# -- context managers


def test_leaving_the_block_deletes_what_this_object_registered_and_nothing_else(
    make_manager: MakeManager, base_dir: Path
) -> None:
    mine, before, theirs = make_manager(), others(base_dir, "before")[0], make_manager()
    inside, also, foreign = others(base_dir, "inside", "also", "foreign")
    mine.register(before)
    with mine as manager:
        assert manager is mine
        manager.register_file(inside)
        manager.register_many([also])
        theirs.register(foreign)
        created = manager.create(ttl=10**6)
        created.close()
    assert [path.exists() for path in (inside, also, before, foreign)] == [False, False, True, True]
    assert not os.path.exists(created)
    assert len(theirs.files) == 2
    assert_balanced(theirs)


def test_a_block_may_be_entered_again(manager: TempFileManager, base_dir: Path) -> None:
    for _ in range(2):
        (path,) = others(base_dir, "file")
        with manager:
            manager.register(path)
        assert not path.exists()


def test_a_manager_is_in_one_block_at_a_time(manager: TempFileManager, path: Path) -> None:
    with manager:
        manager.register(path)
        with pytest.raises(RuntimeError, match="already in a with block"), manager:
            pass
        assert path.exists()
    assert not path.exists()


def test_leaving_the_block_keeps_what_was_released_or_held_or_moved(
    manager: TempFileManager, base_dir: Path
) -> None:
    released, held, moved, replaced = others(base_dir, "released", "held", "moved", "replaced")
    with manager:
        manager.register_many([released, held, moved, replaced])
        manager.unregister(released)
        manager.hold(held)
        moved.rename(base_dir / "elsewhere")
        replaced.unlink()
        others(base_dir, "replaced")
    assert released.exists()
    assert held.exists()
    assert (base_dir / "elsewhere").exists()
    assert replaced.exists()
    assert list(manager.files) == [str(held)]
    assert_balanced(manager)


def test_an_exception_in_the_block_deletes_as_well_and_comes_through(
    manager: TempFileManager, path: Path
) -> None:
    with pytest.raises(ZeroDivisionError), manager:
        manager.register(path)
        raise ZeroDivisionError
    assert not path.exists()


# -- other volumes


def test_the_engine_of_another_base_directory_of_this_host(
    make_manager: MakeManager, tmp_path: Path, clock: FakeClock
) -> None:
    one, two = make_manager(tmp_path / "one"), make_manager(tmp_path / "two")
    two.create(ttl=1).close()
    clock.advance(60)
    report = one.local_volume.beside(str(tmp_path / "two")).cleaner.clean_due()
    assert report.counts[Outcome.DELETED] == 1
    with pytest.raises(VolumeUnavailable):
        one.local_volume.beside(str(tmp_path / "three"))
    assert not (tmp_path / "three").exists()


def test_a_root_that_would_be_a_disaster_is_refused(tmp_path: Path) -> None:
    for root in ("/", os.path.expanduser("~")):
        with pytest.raises(SettingsError):
            TempFileManager(root, client=fakeredis.FakeRedis())
