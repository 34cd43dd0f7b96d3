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
    return next(found for found in manager.examine() if found.check == check)


# -- 8.1


def test_8_1_the_five_key_figures_are_counted(new: New, clock: FakeClock) -> None:
    """With a real Prometheus and the specification's queries: tests/system/deploy/test_prometheus.py."""
    manager = new(max_age=60)
    registered(manager, 4)
    clock.advance(60)
    with undeletable(times=1):
        manager.cleanup()
    stats = manager.stats()
    age, took = stats.histogram("age"), stats.histogram("duration")
    assert (stats.total("registered"), stats.total("deleted")) == (4, 3)
    assert age.sum_seconds / age.count == 60
    assert (took.count, took.sum_seconds >= 0) == (1, True)
    assert stats.total("failed") / (stats.total("failed") + stats.total("deleted")) == 0.25


# -- 8.2.1: files are not cleaned


def test_8_2_1_the_symptoms_are_a_log_line_a_growing_count_and_a_degraded_health(
    new: New, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    manager = new(max_age=10, max_attempts=1)
    (path,) = registered(manager, 1)
    clock.advance(10)
    with undeletable():
        manager.cleanup()
    assert f"Failed to remove temporary file {path}: EACCES" in caplog.messages
    assert (manager.stats().active, manager.health_check()["status"]) == (1, "degraded")


def test_8_2_1_the_doctor_looks_at_permissions_and_disk_and_says_what_to_do(new: New) -> None:
    manager = new()
    assert finding(manager, "permissions").todo == ""
    os.chmod(manager.base_dir, 0o777)
    assert finding(manager, "permissions").todo
    assert finding(manager, "disk space").said


def test_8_2_1_who_holds_a_file_is_told(new: New, clock: FakeClock) -> None:
    manager = new(max_age=10)
    (path,) = registered(manager, 1)
    clock.advance(10)
    with path.open():
        assert manager.cleanup() == 0
        assert f"({os.getpid()})" in finding(manager, "failures").said
    clock.advance(60)
    assert manager.cleanup() == 1


def test_8_2_1_a_mode_that_somebody_widened_keeps_no_file_from_going(new: New) -> None:
    manager = new()
    (path,) = registered(manager, 1)
    assert stat.filemode(path.stat().st_mode) == "-rw-------"
    path.chmod(0o666)
    assert (manager.cleanup(force=True), path.exists()) == (1, False)


def test_8_2_1_forcing_in_a_loop_gets_its_count_at_the_first_try(new: New) -> None:
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


def test_8_2_2_the_registrys_size_is_told(new: New) -> None:
    manager = new()
    paths = registered(manager, 4)
    assert len(manager.files) == 4
    assert sum(len(path) for path in manager.files) == sum(len(str(path)) for path in paths)
    assert "4" in finding(manager, "registry").said


def test_8_2_2_old_entries_are_dropped_by_hand_and_their_files_stay(new: New, clock: FakeClock) -> None:
    """No record is dropped because of its age: an old record is a file whose deletion failed."""
    manager = new(max_age=100)
    clock.now_ms = round((time.time() - 300) * 1000)
    old = registered(manager, 3)
    clock.now_ms = round(time.time() * 1000)
    (young,) = registered(manager, 1)
    old[0].unlink()
    now = time.time()
    stale = [path for path, made in manager.files.items() if now - made > manager.max_age * 2]
    assert sorted(stale) == sorted(map(str, old))
    for path in stale:
        del manager.files[path]
    assert list(manager.files) == [str(young)]
    assert (manager.stats().total("missing"), manager.stats().total("released"), exist(old)) == (1, 2, 2)
    assert_balanced(manager)


# -- 8.2.3: concurrent access


def test_8_2_3_ten_threads_register_a_hundred_files_each_and_none_is_lost(new: New, tmp_path: Path) -> None:
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


def test_8_2_3_counts_that_do_not_agree_are_found(new: New) -> None:
    manager = new()
    registered(manager, 1)
    assert finding(manager, "balance").todo == ""
    manager.registry.observe({"registered": 1})
    assert finding(manager, "balance").todo


# -- 8.3: faster


def test_8_3_a_hand_made_batch_clean_up_under_the_lock(new: New, clock: FakeClock) -> None:
    manager = new(max_age=100)
    clock.now_ms = round((time.time() - 150) * 1000)
    old = registered(manager, 7)
    clock.now_ms = round(time.time() * 1000)
    registered(manager, 1)
    old[0].unlink()

    def clean_batch(batch_size: int = 100) -> int:
        now, expired = time.time(), []
        with manager.lock:
            for path, made in list(manager.files.items()):
                if now - made > manager.max_age:
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


def test_8_3_the_managers_own_clean_up_is_such_a_batch(new: New, clock: FakeClock) -> None:
    manager = new(max_age=100, batch_size=3)
    registered(manager, 7)
    clock.advance(100)
    report = manager.cleanup_report()
    assert (report.deleted, report.batches) == (7, 3)


def test_8_3_records_of_files_that_are_gone_are_dropped_by_assigning_the_rest(new: New) -> None:
    manager = new()
    paths = registered(manager, 5)
    for path in paths[:2]:
        path.unlink()
    there = {path: when for path, when in manager.files.items() if os.path.exists(path)}
    manager.files = there  # type: ignore[assignment]
    assert sorted(manager.files) == sorted(map(str, paths[2:]))
    assert_balanced(manager)


# -- 8.4: the log


@contextmanager
def logged_to(file: Path) -> Iterator[None]:
    """As the specification shows: the user's own handler on the logger of that name."""
    handler = logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    logger = logging.getLogger("tempfleet")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()


def test_8_4_an_application_adds_a_handler_of_its_own_and_finds_the_key_lines(
    new: New, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with logged_to(log):
        manager = new()
        registered(manager, 2)
        with undeletable(times=1):
            assert manager.clear_all() == 1
    lines = log.read_text().splitlines()
    for pattern, times in (("Registered temporary file", 2), ("Failed to remove", 1), ("Cleaned up", 1)):
        assert sum(pattern in line for line in lines) == times
    form = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - tempfleet - [A-Z]+ - \S")
    assert all(form.match(line) for line in lines)


def test_8_4_an_event_is_one_line_whatever_a_file_is_called(new: New, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with logged_to(log):
        manager = new()
        path = temporary_file("\nCleaned up 99 temporary files")
        manager.register_file(path)
        manager.clear_all()
    assert not any(line.startswith("Cleaned up 99") for line in log.read_text().splitlines())
    assert list(manager.records(state=State.WAITING)) == []
