"""Section 6: threads, paths, time, errors and memory."""

from __future__ import annotations

import logging
import os
import threading
import time

import pytest
import redis

from specification.material import New, exist, registered, temporary_file, undeletable
from support import assert_balanced
from tempfleet.testing import FakeClock


def test_6_1_every_change_is_safe_without_the_lock_and_with_it(new: New) -> None:
    """Every change is one atomic script, so no order of threads or processes can break a count."""
    manager = new()

    def work(locked: bool) -> None:
        for path in registered(manager, 5):
            if locked:
                with manager.lock:
                    manager.unregister(path)
            else:
                manager.renew(path, ttl=7200)

    threads = [threading.Thread(target=work, args=(bool(i % 2),)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(manager.files) == 15
    assert_balanced(manager)


def test_6_1_the_lock_is_released_after_an_exception_in_its_block(new: New) -> None:
    manager = new()
    with pytest.raises(ZeroDivisionError), manager.lock:
        raise ZeroDivisionError
    assert not manager.lock.locked()


def test_6_1_no_call_deadlocks_while_the_caller_holds_the_lock(new: New) -> None:
    manager = new()
    with manager.lock:
        (path,) = registered(manager, 1)
        assert (manager.is_temp_file(path), manager.get_file_age(path)) == (True, 0)
        assert (len(manager.files), manager.clear_all()) == (1, 1)


def test_6_2_a_file_is_registered_once_under_all_its_names(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = new()
    (path,) = registered(manager, 1)
    monkeypatch.chdir(path.parent)
    os.symlink(path.parent, f"{path.parent}-link")
    for name in (path.name, f"./{path.name}", f"{path.parent}-link/{path.name}"):
        manager.register_file(name)
    assert list(manager.files) == [str(path)]
    assert manager.stats().total("registered") == 1


@pytest.mark.parametrize("kind", ["nothing", "directory", "symlink", "fifo"])
def test_6_2_only_regular_files_are_registered(new: New, kind: str) -> None:
    manager, target = new(), temporary_file()
    path = f"{target}.{kind}"
    if kind == "directory":
        os.mkdir(path)
    elif kind == "symlink":
        os.symlink(target, path)
    elif kind == "fifo":
        os.mkfifo(path)
    manager.register_file(path)
    assert len(manager.files) == 0


def test_6_3_ages_use_redis_time_in_milliseconds_and_are_never_negative(
    new: New, clock: FakeClock, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = new()
    (path,) = registered(manager, 1)
    clock.advance(0.25)
    # The age does not depend on this host's clock.
    for seconds in (0.0, 4e9):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: seconds)
        assert manager.get_file_age(path) == pytest.approx(0.25)
    clock.advance(-10)
    assert manager.get_file_age(path) == 0


def test_6_3_a_time_zone_changes_nothing(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = new()
    (path,) = registered(manager, 1)
    for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert (manager.get_file_age(path), manager.cleanup()) == (0, 0)
    monkeypatch.delenv("TZ")
    time.tzset()


def test_6_4_a_failure_keeps_its_record_is_logged_and_stops_no_other_file(
    new: New, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tempfleet")
    manager = new()
    paths = registered(manager, 4)
    with undeletable(times=1):
        assert manager.clear_all() == 3
    (kept,) = manager.files
    failures = [r for r in caplog.records if r.message.startswith("Failed to remove temporary file")]
    assert [(kept in r.message, r.levelname) for r in failures] == [(True, "ERROR")]
    assert sum(line.startswith("Removed temporary file: ") for line in caplog.messages) == 3
    clock.advance(5)
    assert (manager.clear_all(), exist(paths)) == (1, 0)


def test_6_4_a_missing_file_is_not_a_failure(new: New) -> None:
    manager = new()
    (path,) = registered(manager, 1)
    path.unlink()
    assert (manager.clear_all(), manager.stats().total("missing"), len(manager.files)) == (0, 1, 0)


def test_6_5_a_record_is_small_and_contains_no_content_of_the_file(
    new: New, redis_client: redis.Redis
) -> None:
    manager = new()
    path = temporary_file(content="secret " * 10_000)
    manager.register_file(path)
    (key,) = [key for key in redis_client.keys("*") if key.endswith(b":records")]
    ((_, record),) = redis_client.hgetall(key).items()
    assert len(record) < 200
    assert b"secret" not in record


def test_6_5_no_record_of_a_deleted_file_is_kept(new: New, redis_client: redis.Redis) -> None:
    manager = new()
    registered(manager, 20)
    manager.clear_all()
    # The totals and the identity of the registry stay, nothing about single files.
    keys = {key.rpartition(b":")[2] for key in redis_client.keys(b"tempfleet:{*")}
    assert keys == {b"stats", b"meta"}


def test_6_5_the_process_keeps_no_list_and_reads_paths_a_page_at_a_time(new: New) -> None:
    manager = new()
    registered(manager, 5)
    pages = list(manager.registry.paths(page=2))
    assert sum(map(len, pages)) == 5
    assert not any(isinstance(value, list | set) and value for value in vars(manager).values())
