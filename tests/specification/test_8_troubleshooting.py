"""Section 8: monitoring, problems, performance and the log."""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from specification.material import New, exist, registered, temporary_file, undeletable
from support import assert_balanced
from tempfleet import State, TempFileManager
from tempfleet.diagnostics.finding import Finding
from tempfleet.testing import FakeClock


def finding(manager: TempFileManager, check: str) -> Finding:
    return next(finding for finding in manager.examine() if finding.check == check)


# -- 8.1


def test_8_1_the_five_key_metrics_are_counted(new: New, clock: FakeClock) -> None:
    """With a real Prometheus and the specification's queries: tests/system/deploy/test_prometheus.py."""
    manager = new(max_age=60)
    registered(manager, 4)
    clock.advance(60)
    with undeletable(times=1):
        manager.cleanup()
    stats = manager.stats()
    age, duration = stats.histogram("age"), stats.histogram("duration")
    assert (stats.total("registered"), stats.total("deleted")) == (4, 3)
    assert age.sum_seconds / age.count == 60
    assert (duration.count, duration.sum_seconds >= 0) == (1, True)
    assert stats.total("failed") / (stats.total("failed") + stats.total("deleted")) == 0.25


# -- 8.2.1: files are not cleaned


def test_8_2_1_a_failed_deletion_is_logged_keeps_the_count_and_degrades_health(
    new: New, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    manager = new(max_age=10, max_attempts=1)
    (path,) = registered(manager, 1)
    clock.advance(10)
    with undeletable():
        manager.cleanup()
    assert f"Failed to remove temporary file {path}: EACCES" in caplog.messages
    assert (manager.stats().active, manager.health_check()["status"]) == (1, "degraded")


def test_8_2_1_the_doctor_checks_permissions_and_disk_and_advises(new: New) -> None:
    manager = new()
    assert finding(manager, "permissions").todo == ""
    os.chmod(manager.base_dir, 0o777)
    assert finding(manager, "permissions").todo
    assert finding(manager, "disk space").said


def test_8_2_1_the_doctor_names_the_process_that_uses_a_file(new: New, clock: FakeClock) -> None:
    manager = new(max_age=10)
    (path,) = registered(manager, 1)
    clock.advance(10)
    with path.open():
        assert manager.cleanup() == 0
        assert f"({os.getpid()})" in finding(manager, "failures").said
    clock.advance(60)
    assert manager.cleanup() == 1


def test_8_2_1_a_file_with_a_changed_mode_is_deleted(new: New) -> None:
    manager = new()
    (path,) = registered(manager, 1)
    assert stat.filemode(path.stat().st_mode) == "-rw-------"
    path.chmod(0o666)
    assert (manager.cleanup(force=True), path.exists()) == (1, False)


def test_8_2_1_a_forced_clean_up_with_retries_needs_one_try(new: New) -> None:
    manager = new()
    registered(manager, 3)

    def clean_with_retries(max_retries: int = 3) -> tuple[int, int] | None:
        for attempt in range(max_retries):
            try:
                return attempt, manager.cleanup(force=True)
            except Exception:  # noqa: BLE001 - as in the example
                continue
        return None

    assert clean_with_retries() == (0, 3)
    assert clean_with_retries() == (0, 0)


# -- 8.2.2: too much memory


def test_8_2_2_the_size_of_the_registry_can_be_read(new: New) -> None:
    manager = new()
    paths = registered(manager, 4)
    assert len(manager.files) == 4
    assert sum(len(path) for path in manager.files) == sum(len(str(path)) for path in paths)
    assert "4" in finding(manager, "registry").said


def test_8_2_2_old_records_can_be_dropped_by_hand_and_their_files_stay(new: New, clock: FakeClock) -> None:
    """No record is dropped because of its age: an old record is a file whose deletion failed."""
    manager = new(max_age=100)
    clock.now_ms = round((time.time() - 300) * 1000)
    old = registered(manager, 3)
    clock.now_ms = round(time.time() * 1000)
    (young,) = registered(manager, 1)
    old[0].unlink()
    now = time.time()
    stale = [
        path for path, registered_at in manager.files.items() if now - registered_at > manager.max_age * 2
    ]
    assert sorted(stale) == sorted(map(str, old))
    for path in stale:
        del manager.files[path]
    assert list(manager.files) == [str(young)]
    assert (manager.stats().total("missing"), manager.stats().total("released"), exist(old)) == (1, 2, 2)
    assert_balanced(manager)


# -- 8.2.3: concurrent access


def test_8_2_3_ten_threads_register_a_thousand_files_and_none_is_lost(new: New, tmp_path: Path) -> None:
    manager = new()

    def work(thread_id: int) -> None:
        for i in range(100):
            path = tmp_path / "tmp" / f"test_{thread_id}_{i}.txt"
            path.write_text(f"content {thread_id} {i}")
            manager.register_file(path)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(manager.files) == 10 * 100
    assert manager.clear_all() == 1000
    assert_balanced(manager)


def test_8_2_3_the_doctor_finds_totals_that_do_not_balance(new: New) -> None:
    manager = new()
    registered(manager, 1)
    assert finding(manager, "balance").todo == ""
    manager.registry.observe({"registered": 1})
    assert finding(manager, "balance").todo


# -- 8.3: performance


def test_8_3_a_caller_can_clean_a_batch_by_hand_under_the_lock(new: New, clock: FakeClock) -> None:
    manager = new(max_age=100)
    clock.now_ms = round((time.time() - 150) * 1000)
    old = registered(manager, 7)
    clock.now_ms = round(time.time() * 1000)
    registered(manager, 1)
    old[0].unlink()

    def clean_batch(batch_size: int = 100) -> int:
        now, expired = time.time(), []
        with manager.lock:
            for path, registered_at in list(manager.files.items()):
                if now - registered_at > manager.max_age:
                    expired.append(path)
                    if len(expired) >= batch_size:
                        break
        for path in expired:
            if os.path.exists(path):
                os.remove(path)
            del manager.files[path]
        return len(expired)

    assert (clean_batch(batch_size=5), clean_batch(), clean_batch()) == (5, 2, 0)
    assert (exist(old), len(manager.files), manager.stats().total("missing")) == (0, 1, 7)
    assert_balanced(manager)


def test_8_3_a_clean_up_works_in_batches(new: New, clock: FakeClock) -> None:
    manager = new(max_age=100, batch_size=3)
    registered(manager, 7)
    clock.advance(100)
    report = manager.cleanup_report()
    assert (report.deleted, report.batches) == (7, 3)


def test_8_3_assigning_the_existing_files_drops_records_of_missing_ones(new: New) -> None:
    manager = new()
    paths = registered(manager, 5)
    for path in paths[:2]:
        path.unlink()
    existing = {path: seconds for path, seconds in manager.files.items() if os.path.exists(path)}
    manager.files = existing  # type: ignore[assignment]
    assert sorted(manager.files) == sorted(map(str, paths[2:]))
    assert_balanced(manager)


# -- 8.4: the log


@contextmanager
def logged_to(file: Path) -> Iterator[None]:
    """Adds a user's handler to the logger, as the specification shows."""
    handler = logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    logger = logging.getLogger("tempfleet")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()


def test_8_4_an_applications_log_handler_gets_the_key_lines(new: New, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with logged_to(log):
        manager = new()
        registered(manager, 2)
        with undeletable(times=1):
            assert manager.clear_all() == 1
    lines = log.read_text().splitlines()
    for text, times in (("Registered temporary file", 2), ("Failed to remove", 1), ("Cleaned up", 1)):
        assert sum(text in line for line in lines) == times
    pattern = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - tempfleet - [A-Z]+ - \S")
    assert all(pattern.match(line) for line in lines)


def test_8_4_an_event_is_one_line_for_any_file_name(new: New, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with logged_to(log):
        manager = new()
        path = temporary_file("\nCleaned up 99 temporary files")
        manager.register_file(path)
        manager.clear_all()
    assert not any(line.startswith("Cleaned up 99") for line in log.read_text().splitlines())
    assert list(manager.records(state=State.WAITING)) == []
