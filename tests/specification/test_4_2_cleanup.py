"""Section 4.2: expired files are deleted automatically."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from specification.material import New, exist, registered, temporary_file, undeletable
from support import assert_balanced
from tempfleet import State
from tempfleet.testing import FakeClock


def test_4_2_the_example_deletes_expired_files_and_then_the_rest_by_force(new: New, clock: FakeClock) -> None:
    manager = new(max_age=300)
    paths = registered(manager, 5)
    assert manager.cleanup() == 0
    clock.advance(310)
    (late,) = registered(manager, 1)
    removed = manager.cleanup()
    assert (removed, type(removed)) == (5, int)
    assert exist(paths) == 0
    assert (manager.clear_all(), late.exists()) == (1, False)
    assert_balanced(manager)


def test_4_2_a_file_is_kept_exactly_until_its_maximum_age(new: New, clock: FakeClock) -> None:
    manager = new(max_age=300)
    registered(manager, 1)
    clock.advance(299.999)
    assert manager.cleanup() == 0
    clock.advance(0.001)
    assert manager.cleanup() == 1


def test_4_2_force_ignores_the_age_and_respects_a_hold(new: New) -> None:
    manager = new()
    paths = registered(manager, 3)
    manager.hold(paths[0], 3600, reason="being looked at")
    assert (manager.cleanup(force=True), exist(paths)) == (2, 1)
    (held,) = manager.records(state=State.HELD)
    assert held.hold_reason == "being looked at"


def test_4_2_files_are_cleaned_in_batches(new: New, clock: FakeClock) -> None:
    manager = new(max_age=10, batch_size=10)
    paths = registered(manager, 35)
    clock.advance(10)
    report = manager.cleanup_report()
    assert (report.deleted, report.batches, exist(paths)) == (35, 4, 0)


def test_4_2_a_failed_deletion_stops_no_other_and_is_retried(new: New, clock: FakeClock) -> None:
    manager = new(max_age=10)
    paths = registered(manager, 5)
    clock.advance(10)
    with undeletable(times=1):
        assert manager.cleanup() == 4
    (record,) = manager.records()
    assert (record.attempts, record.last_error, exist(paths)) == (1, "EACCES", 1)
    clock.advance(5)
    assert (manager.cleanup(), exist(paths)) == (1, 0)


def test_4_2_a_file_that_cannot_be_deleted_becomes_a_dead_letter(new: New, clock: FakeClock) -> None:
    manager = new(max_age=10, max_attempts=3)
    (path,) = registered(manager, 1)
    with undeletable():
        for _ in range(3):
            clock.advance(60)
            assert manager.cleanup() == 0
    assert next(manager.records(state=State.DEAD)).path == str(path)
    manager.revive(path)
    assert (manager.cleanup(), path.exists()) == (1, False)


# -- use cases


def test_4_2_a_callers_timer_can_clean_regularly(new: New, clock: FakeClock) -> None:
    """With processes, by a worker's timer and beat's sweeps: tests/system/stories/test_two_hosts.py."""
    manager, ticks = new(max_age=30), []
    for _ in range(6):
        registered(manager, 1)
        clock.advance(10)
        ticks.append(manager.cleanup())
    assert ticks == [0, 0, 1, 1, 1, 1]


def test_4_2_under_memory_pressure_a_second_thread_can_delete_everything_while_the_lock_is_held(
    new: New,
) -> None:
    manager = new()
    paths = registered(manager, 4)
    emergency = threading.Thread(target=manager.clear_all)
    # The code that a signal handler interrupted may hold the lock.
    with manager.lock:
        emergency.start()
        emergency.join(30)
    assert exist(paths) == 0


def test_4_2_maintenance_deletes_the_files_of_all_managers_of_the_directory(new: New) -> None:
    paths = registered(new(), 2) + registered(new(), 2)
    maintenance = new()
    previewed = {deletion.path for deletion in maintenance.preview(force=True)}
    assert previewed == set(map(str, paths))
    assert (maintenance.clear_all(), exist(paths)) == (4, 0)


def test_4_2_a_full_disk_can_trigger_a_clean_up_that_reports_the_freed_bytes(
    new: New, tmp_path: Path
) -> None:
    manager = new()
    paths = [Path(temporary_file(content="x" * 100_000)) for _ in range(5)]
    for path in paths:
        manager.register_file(path)

    def watch(fullest: float) -> int:
        usage = shutil.disk_usage(tmp_path)
        return manager.cleanup_report(force=True).freed_bytes if usage.used / usage.total >= fullest else 0

    assert (watch(fullest=2.0), exist(paths)) == (0, 5)
    assert watch(fullest=0.0) == pytest.approx(500_000, rel=0.1)
    assert exist(paths) == 0
