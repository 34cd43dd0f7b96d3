"""TempFileManager: the calls of the specification, and the ones that Tempfleet adds."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import fakeredis
import pytest
import redis

from support import assert_balanced, snapshot
from tempfleet import (
    AlreadyClaimed,
    BatchError,
    EvictingRedis,
    FileMissing,
    InvalidTTL,
    NotRegistered,
    Outcome,
    Settings,
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
    """Returns a file in the base directory. It is not registered."""
    path = base_dir.resolve() / "file"
    path.write_text("content")
    return path


def written(base_dir: Path, *names: str) -> list[Path]:
    paths = [base_dir.resolve() / name for name in names]
    for path in paths:
        path.write_text(path.name)
    return paths


# -- creating a manager


def test_the_repr_of_a_manager_shows_directory_age_and_host(
    make_manager: MakeManager, base_dir: Path
) -> None:
    manager = make_manager(max_age=1800)
    assert repr(manager) == f"TempFileManager({str(base_dir)!r}, max_age=1800, host='web-1')"


@pytest.mark.parametrize("max_age", [0, -1, float("nan"), LONGEST_TTL_SECONDS + 1, "3600", True])
def test_an_invalid_max_age_is_refused_before_anything_is_created(tmp_path: Path, max_age: float) -> None:
    with pytest.raises(InvalidTTL):
        TempFileManager(tmp_path / "base", max_age, client=fakeredis.FakeRedis())
    assert not (tmp_path / "base").exists()


def test_a_changed_max_age_counts_for_later_registrations(manager: TempFileManager, path: Path) -> None:
    manager.max_age = 60
    record = manager.register(path)
    assert record.deadline_ms - record.registered_ms == 60_000
    assert manager.health_check()["max_age"] == 60


def test_arguments_override_settings_and_settings_override_defaults(tmp_path: Path) -> None:
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


def test_a_dropped_manager_leaves_no_descriptor_open(tmp_path: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc to count descriptors")
    client = fakeredis.FakeRedis()
    gc.collect()
    count = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        TempFileManager(tmp_path, client=client)
    assert len(os.listdir("/proc/self/fd")) == count


def test_a_closed_manager_raises_and_loses_nothing(
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


def test_a_directory_that_contains_another_base_directory_is_refused(
    make_manager: MakeManager, base_dir: Path
) -> None:
    inner = make_manager(base_dir / "tree" / "inner")
    inner.create_dir()
    (base_dir / "tree" / "inner-but-not").mkdir()
    outer = make_manager()
    for path in (base_dir / "tree", base_dir / "tree" / "inner"):
        with pytest.raises(UnsafePath) as error:
            outer.register(path, directory=True)
        assert error.value.reason == "root"
    assert outer.register(base_dir / "tree" / "inner-but-not", directory=True).is_directory


def test_a_redis_that_may_evict_is_refused_before_anything_is_stored_in_it(
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
    for argument in (str(path), os.fsencode(path), path):
        manager.register_file(argument)
        assert manager.is_temp_file(argument)
    assert len(manager.files) == 1


def test_a_file_can_have_its_own_time_to_live(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    short, long = written(base_dir, "short", "long")
    manager.register_file(short, ttl=5)
    manager.register_file(long)
    clock.advance(5)
    assert manager.cleanup() == 1
    assert (short.exists(), long.exists()) == (False, True)


def test_register_many_reports_bad_files_and_registers_the_written(
    manager: TempFileManager, base_dir: Path
) -> None:
    first, second = written(base_dir, "first", "second")
    (base_dir / "directory").mkdir()
    with pytest.raises(BatchError) as error:
        manager.register_many([first, base_dir / "missing", base_dir / "directory", second, "", "a\0b"])
    assert [record.path for record in error.value.records] == [str(first), str(second)]
    types = [type(reason) for reason in error.value.errors.values()]
    assert types == [FileMissing, UnsafePath, UnsafePath, UnsafePath]
    assert len(manager.files) == 2


def test_a_directory_is_registered_only_with_directory_true(manager: TempFileManager, base_dir: Path) -> None:
    (base_dir / "tree" / "deep").mkdir(parents=True)
    with pytest.raises(UnsafePath) as error:
        manager.register(base_dir / "tree")
    assert error.value.reason == "directory"
    assert manager.register(base_dir / "tree", directory=True).is_directory
    assert manager.clear_all() == 1
    assert not (base_dir / "tree").exists()


def test_another_file_with_the_name_replaces_the_record(
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


# -- renew, hold, unregister


def test_renewing_moves_the_deadline_later_and_never_earlier(
    manager: TempFileManager, path: Path, clock: FakeClock
) -> None:
    manager.register(path, ttl=60)
    assert manager.renew(path, ttl=10) == (clock.now_ms + 60_000) / 1000
    assert manager.renew(path) == (clock.now_ms + 3_600_000) / 1000
    clock.advance(60)
    assert manager.cleanup() == 0
    assert manager.get_file_age(path) == 60


def test_a_held_file_stays_after_its_deadline(manager: TempFileManager, path: Path, clock: FakeClock) -> None:
    manager.register(path, ttl=1)
    manager.hold(path)
    record = manager.get_record(path)
    assert record is not None and record.due_ms is None
    clock.advance(366 * 86_400)
    assert manager.clear_all() == manager.cleanup() == 0
    assert manager.unhold(path)
    assert not manager.unhold(path)
    assert manager.cleanup() == 1


def test_a_hold_with_a_time_limit_ends(manager: TempFileManager, path: Path, clock: FakeClock) -> None:
    manager.register(path, ttl=1)
    manager.hold(path, seconds=100)
    clock.advance(99)
    assert manager.cleanup() == 0
    clock.advance(1)
    assert manager.cleanup() == 1


def test_an_unregistered_file_is_not_deleted(manager: TempFileManager, path: Path, clock: FakeClock) -> None:
    manager.register(path, ttl=1)
    manager.unregister(path)
    assert not manager.is_temp_file(path)
    clock.advance(10)
    assert manager.cleanup(force=True) == 0
    assert path.exists()
    assert_balanced(manager)


def test_a_file_that_is_not_registered_cannot_be_renewed_held_or_unregistered(
    manager: TempFileManager, path: Path
) -> None:
    for call in (manager.renew, manager.hold, manager.unhold, manager.unregister):
        with pytest.raises(NotRegistered) as error:
            call(path)
        assert error.value.path == str(path)
        assert str(error.value) == f"{path} is not registered {manager.volume.in_words}."
    assert manager.stats().totals == {}


def test_a_claimed_file_cannot_be_registered_renewed_held_or_unregistered(
    manager: TempFileManager,
    path: Path,
    redis_client: redis.Redis,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    manager.register(path, ttl=1)
    clock.advance(1)
    manager.registry.claim(limit=1, lease_ms=60_000)
    before = snapshot(redis_client)
    for call in (manager.register, manager.renew, manager.hold, manager.unregister):
        with pytest.raises(AlreadyClaimed, match="being deleted at this moment") as error:
            call(path)
        assert error.value.path == str(path)
    with pytest.raises(BatchError) as batch:
        manager.register_many([path])
    assert isinstance(batch.value.errors[str(path)], AlreadyClaimed)
    manager.register_file(path)
    assert "is being deleted at this moment" in caplog.messages[-1]
    assert snapshot(redis_client) == before
    assert path.exists()
    assert_balanced(manager)


# -- read


def test_files_due_soon_are_listed_in_order_of_their_deadlines(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    for seconds in (30, 10, 20, 99):
        (path,) = written(base_dir, str(seconds))
        manager.register(path, ttl=seconds)
    assert [Path(record.path).name for record in manager.files_due_within(30)] == ["10", "20", "30"]
    assert [Path(record.path).name for record in manager.files_due_within(30, limit=1)] == ["10"]
    clock.advance(15)
    assert [Path(record.path).name for record in manager.files_due_within(0)] == ["10"]


def test_near_expiry_takes_a_fraction_from_0_to_1(manager: TempFileManager) -> None:
    for fraction in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            manager.near_expiry(fraction)


def test_stats_are_consistent_and_balance(manager: TempFileManager, base_dir: Path, clock: FakeClock) -> None:
    paths = written(base_dir, *"abcd")
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
def test_a_damaged_record_becomes_a_dead_letter_and_hides_no_other_record(
    manager: TempFileManager, base_dir: Path, redis_client: redis.Redis, clock: FakeClock, damage: bytes
) -> None:
    good, bad = written(base_dir, "good", "bad")
    manager.register_many([good, bad])
    redis_client.hset(f"tempfleet:{{{manager.volume}}}:records", os.fsencode(bad), damage)
    assert str(good) in {record.path for record in manager.records()}
    clock.advance(3600)
    assert {str(good)} <= {deletion.path for deletion in manager.preview()}
    assert manager.cleanup() == 1
    assert (good.exists(), bad.exists()) == (False, True)
    # A dead letter, for a person: if the record were dropped, its file would leak.
    assert list(manager.registry.dead_paths()) == [[str(bad)]]
    assert redis_client.hget(f"tempfleet:{{{manager.volume}}}:errors", os.fsencode(bad)) == b"no-identity"


# -- context managers


def test_leaving_the_block_deletes_only_the_files_registered_in_it(
    make_manager: MakeManager, base_dir: Path
) -> None:
    entered, other = make_manager(), make_manager()
    before, inside, inside_too, foreign = written(base_dir, "before", "inside", "inside_too", "foreign")
    entered.register(before)
    with entered as manager:
        assert manager is entered
        manager.register_file(inside)
        manager.register_many([inside_too])
        other.register(foreign)
        created = manager.create(ttl=10**6)
        created.close()
    assert [path.exists() for path in (inside, inside_too, before, foreign)] == [False, False, True, True]
    assert not os.path.exists(created)
    assert len(other.files) == 2
    assert_balanced(other)


def test_a_block_may_be_entered_again(manager: TempFileManager, base_dir: Path) -> None:
    for _ in range(2):
        (path,) = written(base_dir, "file")
        with manager:
            manager.register(path)
        assert not path.exists()


def test_a_manager_cannot_enter_two_blocks_at_once(manager: TempFileManager, path: Path) -> None:
    with manager:
        manager.register(path)
        with pytest.raises(RuntimeError, match="already in a with block"), manager:
            pass
        assert path.exists()
    assert not path.exists()


def test_leaving_the_block_keeps_unregistered_held_moved_and_replaced_files(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    unregistered, held, moved, replaced = written(base_dir, "unregistered", "held", "moved", "replaced")
    with manager:
        manager.register_many([unregistered, held, moved, replaced])
        manager.unregister(unregistered)
        manager.hold(held)
        moved.rename(base_dir / "elsewhere")
        replaced.unlink()
        written(base_dir, "replaced")
        clock.advance(60)
    assert unregistered.exists()
    assert held.exists()
    assert (base_dir / "elsewhere").exists()
    assert replaced.exists()
    assert sorted(manager.files) == [str(held), str(replaced)]
    assert_balanced(manager)


def test_an_exception_in_the_block_deletes_the_files_and_propagates(
    manager: TempFileManager, path: Path
) -> None:
    with pytest.raises(ZeroDivisionError), manager:
        manager.register(path)
        raise ZeroDivisionError
    assert not path.exists()


# -- other volumes


def test_a_manager_can_clean_another_volume_of_its_host(
    make_manager: MakeManager, tmp_path: Path, clock: FakeClock
) -> None:
    first, second = make_manager(tmp_path / "one"), make_manager(tmp_path / "two")
    second.create(ttl=1).close()
    clock.advance(60)
    report = first.local_volume.beside(str(tmp_path / "two")).cleaner.clean_due()
    assert report.counts[Outcome.DELETED] == 1
    with pytest.raises(VolumeUnavailable):
        first.local_volume.beside(str(tmp_path / "three"))
    assert not (tmp_path / "three").exists()
