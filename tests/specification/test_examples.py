"""
The specification's examples, section by section: the same calls with the same arguments, and what comes of them.

Each is told here in our words; what a user of the specification would copy runs after changing the import and adding
those that its text forgets. Where it waits, the registry's clock is moved.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import assert_balanced
from tempfleet import Settings, TempFileManager
from tempfleet.deletion import faults
from tempfleet.testing import FakeClock

New = Callable[..., TempFileManager]


@pytest.fixture
def new(redis_client: object, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> New:
    """``TempFileManager(base_dir, max_age)`` as the examples call it, on the test's Redis and clock."""
    (tmp_path / "tmp").mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))  # the examples leave files there
    made = []

    def make(base_dir: str, max_age: int = 3600) -> TempFileManager:
        manager = TempFileManager(
            base_dir=base_dir, max_age=max_age, settings=Settings.load(host="web-1"), client=redis_client, clock=clock
        )  # fmt: skip
        made.append(manager)
        return manager

    yield make
    for manager in made:
        manager.close()


def temporary_file(suffix: str, content: str) -> str:
    """As every example makes one: by the standard library, outside the base directory, kept when closed."""
    with tempfile.NamedTemporaryFile(mode="w", suffix=suffix, delete=False) as file:
        file.write(content)
    return file.name


def test_4_1_a_file_is_registered_and_tracked(
    new: New, tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    manager = new(base_dir=str(tmp_path / "aiecs_temp"), max_age=3600)
    path = temporary_file(".json", '{"data": 1}')
    assert manager.register_file(path) is None  # type: ignore[func-returns-value]
    assert f"Registered temporary file: {os.path.realpath(path)}" in caplog.messages
    assert manager.is_temp_file(path) is True
    age = manager.get_file_age(path)
    assert isinstance(age, float)
    assert f"{age:.2f}" == "0.00"


def test_4_2_expired_files_are_cleaned_and_force_cleans_the_rest(
    new: New, tmp_path: Path, clock: FakeClock
) -> None:
    manager = new(base_dir=str(tmp_path / "short_term"), max_age=300)
    paths = []
    for i in range(5):
        paths.append(temporary_file(f"_{i}.txt", f"content {i}"))
        manager.register_file(paths[-1])
    assert manager.cleanup() == 0
    clock.advance(310)
    late = temporary_file(".txt", "registered later")
    manager.register_file(late)
    removed = manager.cleanup()
    assert (removed, type(removed)) == (5, int)
    assert not any(os.path.exists(path) for path in paths)
    remaining = manager.clear_all()
    assert (remaining, os.path.exists(late)) == (1, False)
    assert_balanced(manager)


def test_4_3_state_and_age_are_queried_while_time_goes_by(new: New, tmp_path: Path, clock: FakeClock) -> None:
    manager = new(str(tmp_path / "query_test"), max_age=1800)
    path = temporary_file(".log", "lines")
    manager.register_file(path)
    assert manager.is_temp_file(path)
    assert f"{manager.get_file_age(path):.2f}" == "0.00"
    clock.advance(10)
    assert f"{manager.get_file_age(path):.2f}" == "10.00"

    def is_about_to_expire() -> bool:
        age = manager.get_file_age(path)
        return age is not None and age > manager.max_age * 0.8

    assert not is_about_to_expire()
    clock.advance(1431)
    assert is_about_to_expire()
    assert [record.path for record in manager.files_due_within(1800 * 0.2)] == [os.path.realpath(path)]


def test_4_4_files_are_registered_queried_and_cleaned_in_a_batch(
    new: New, tmp_path: Path, clock: FakeClock
) -> None:
    manager = new(str(tmp_path / "batch_test"), max_age=600)
    paths = []
    for i in range(10):
        paths.append(temporary_file(f"_batch_{i}.txt", f"content {i}"))
        manager.register_file(paths[-1])
    managed = [(path, manager.get_file_age(path)) for path in paths if manager.is_temp_file(path)]
    assert [path for path, _ in managed] == paths
    assert {f"{age:.2f}" for _, age in managed} == {"0.00"}
    assert manager.cleanup() == 0
    clock.advance(600)
    assert manager.cleanup() == 10


# -- 5: the API, call by call


def test_5_1_the_constructor_makes_the_directory_and_has_an_hour_as_default(new: New, tmp_path: Path) -> None:
    base_dir = str(tmp_path / "deep" / "base")
    assert (new(base_dir).max_age, os.path.isdir(base_dir)) == (3600, True)
    assert new(base_dir, 60).max_age == 60
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        new(str(tmp_path / "file" / "base"))


def test_5_1_register_file_takes_a_relative_path_and_validates_that_the_file_is_there(
    new: New, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manager = new(base_dir=str(tmp_path / "base"))
    monkeypatch.chdir(tmp_path / "base")
    Path("name").touch()
    manager.register_file("name")
    manager.register_file(file_path="./name")
    assert list(manager.files) == [os.path.realpath("name")]
    manager.register_file("nothing")
    assert caplog.messages[-1] == f"Attempted to register non-existent file: {os.path.abspath('nothing')}"
    assert not manager.is_temp_file("nothing")
    assert manager.is_temp_file(file_path="name")
    assert manager.get_file_age(file_path="name") is not None


def test_5_1_cleanup_goes_by_age_and_with_force_takes_everything(
    new: New, tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    manager = new(str(tmp_path / "base"), 100)
    old, young = temporary_file("_old", ""), temporary_file("_young", "")
    manager.register_file(old)
    clock.advance(60)
    manager.register_file(young)
    clock.advance(40)
    assert manager.cleanup(force=False) == 1
    assert caplog.messages[-1].startswith("Cleaned up 1 temporary files")
    assert manager.cleanup(True) == 1
    assert manager.cleanup(force=True) == manager.clear_all() == 0


def test_5_1_what_could_not_be_cleaned_keeps_its_record(
    new: New, tmp_path: Path, caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    manager = new(str(tmp_path / "base"))
    path = temporary_file(".txt", "")
    manager.register_file(path)

    def refuse(point: str) -> None:
        raise PermissionError(13, "denied")

    faults.install(refuse)
    try:
        assert manager.cleanup(force=True) == 0
    finally:
        faults.install(None)
    assert f"Failed to remove temporary file {os.path.realpath(path)}: EACCES" in caplog.messages
    assert manager.is_temp_file(path)
    assert manager.clear_all() == 1


def test_5_1_what_is_not_registered_has_no_age(new: New, tmp_path: Path) -> None:
    manager = new(str(tmp_path / "base"))
    path = temporary_file(".txt", "")
    assert manager.get_file_age(path) is None
    assert manager.is_temp_file(path) is False
    manager.register_file(path)
    os.remove(path)
    assert manager.is_temp_file(path) is True  # whether the file is there is not asked


def test_5_2_the_attributes_are_there_with_their_types(new: New, tmp_path: Path, clock: FakeClock) -> None:
    manager = new(str(tmp_path / "base"), max_age=1800)
    assert (manager.base_dir, manager.max_age) == (str(tmp_path / "base"), 1800)
    assert (type(manager.base_dir), type(manager.max_age)) == (str, int)
    path = temporary_file(".txt", "")
    manager.register_file(path)
    assert dict(manager.files) == {os.path.realpath(path): clock.now_ms / 1000}
    assert type(manager.lock) is type(threading.Lock())
    with manager.lock:
        manager.files[path] = time.time()
        del manager.files[path]
    assert len(manager.files) == 0


# -- 7.4


def test_7_4_the_health_check_returns_the_dictionary(new: New, tmp_path: Path) -> None:
    manager = new(str(tmp_path / "base"))
    health = manager.health_check()
    assert (health["status"], health["active_files"]) == ("healthy", 0)
    assert (health["base_dir"], health["max_age"]) == (manager.base_dir, manager.max_age)
    assert isinstance(health["timestamp"], float)
    os.rmdir(manager.base_dir)
    health = manager.health_check()
    assert health["status"] == "unhealthy"
    assert health["error"].startswith("Base directory not accessible")
    assert isinstance(health["timestamp"], float)


# -- 8: the tools


def test_8_2_1_permissions_are_looked_at_and_widened_and_the_file_still_goes(
    new: New, tmp_path: Path
) -> None:
    manager = new(str(tmp_path / "base"))
    path = temporary_file(".txt", "")
    manager.register_file(path)

    def widen(path: str) -> bool:
        try:
            assert stat.filemode(os.stat(path).st_mode) == "-rw-------"
            os.chmod(path, 0o666)
            return True
        except OSError:
            return False

    assert widen(path)
    assert not widen("/nowhere/at/all")
    assert manager.cleanup(force=True) == 1


def test_8_2_1_forced_cleaning_in_a_loop_of_retries_gets_its_count_at_the_first_try(
    new: New, tmp_path: Path
) -> None:
    manager = new(str(tmp_path / "base"))
    for i in range(3):
        manager.register_file(temporary_file(f"_{i}.txt", ""))

    def clean_with_retries(max_retries: int = 3) -> tuple[int, int] | None:
        for attempt in range(max_retries):
            try:
                return attempt, manager.cleanup(force=True)
            except Exception:  # noqa: BLE001 - as the example has it
                continue
        return None

    assert clean_with_retries() == (0, 3)
    assert clean_with_retries() == (0, 0)


def test_8_2_2_paths_are_measured_and_old_records_are_dropped_by_hand(
    new: New, tmp_path: Path, clock: FakeClock
) -> None:
    manager = new(str(tmp_path / "base"), max_age=100)
    clock.now_ms = round((time.time() - 300) * 1000)
    old = [temporary_file(f"_{i}", "") for i in range(3)]
    for path in old:
        manager.register_file(path)
    clock.now_ms = round(time.time() * 1000)
    young = temporary_file("_young", "")
    manager.register_file(young)
    os.remove(old[0])

    assert len(manager.files) == 4
    assert sum(len(path) for path in manager.files.keys()) > 4  # noqa: SIM118 - as the example has it
    now = time.time()
    stale = [path for path, created in manager.files.items() if now - created > manager.max_age * 2]
    assert sorted(stale) == sorted(map(os.path.realpath, old))
    for path in stale:
        del manager.files[path]
    assert list(manager.files) == [os.path.realpath(young)]
    assert manager.stats().total("missing") == 1
    assert manager.stats().total("released") == 2
    assert_balanced(manager)


def test_8_2_3_ten_threads_register_a_hundred_files_each_and_none_is_lost(new: New, tmp_path: Path) -> None:
    manager = new(str(tmp_path / "base"))

    def work(thread_id: int) -> None:
        for i in range(100):
            path = f"{tmp_path}/tmp/test_{thread_id}_{i}.txt"
            with open(path, "w") as file:
                file.write(f"content {thread_id} {i}")
            manager.register_file(path)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(manager.files) == 10 * 100
    assert manager.clear_all() == 1000
    assert_balanced(manager)


def test_8_3_a_hand_made_batch_clean_up_under_the_lock(new: New, tmp_path: Path, clock: FakeClock) -> None:
    manager = new(str(tmp_path / "base"), max_age=100)
    clock.now_ms = round((time.time() - 150) * 1000)
    old = [temporary_file(f"_{i}", "") for i in range(7)]
    for path in old:
        manager.register_file(path)
    clock.now_ms = round(time.time() * 1000)
    manager.register_file(temporary_file("_young", ""))
    os.remove(old[0])

    def clean_batch(batch_size: int = 100) -> int:
        now, expired = time.time(), []
        with manager.lock:
            for path, created in list(manager.files.items()):
                if now - created > manager.max_age:
                    expired.append(path)
                    if len(expired) >= batch_size:
                        break
        removed = 0
        for path in expired:
            if os.path.exists(path):
                os.remove(path)
            del manager.files[path]
            removed += 1
        return removed

    assert (clean_batch(batch_size=5), clean_batch(), clean_batch()) == (5, 2, 0)
    assert not any(os.path.exists(path) for path in old)
    assert len(manager.files) == 1
    assert manager.stats().total("missing") == 7
    assert_balanced(manager)


def test_8_3_records_of_files_that_are_gone_are_dropped_by_assigning_the_rest(
    new: New, tmp_path: Path
) -> None:
    manager = new(str(tmp_path / "base"))
    paths = [temporary_file(f"_{i}", "") for i in range(5)]
    for path in paths:
        manager.register_file(path)
    for path in paths[:2]:
        os.remove(path)
    existing = {}
    for path in list(manager.files.keys()):
        if os.path.exists(path):
            existing[path] = manager.files[path]
    manager.files = existing  # type: ignore[assignment]
    assert sorted(manager.files) == sorted(map(os.path.realpath, paths[2:]))
    assert len(manager.files) - len(existing) == 0
    assert_balanced(manager)


def test_8_4_the_key_log_lines_can_be_grepped_for(new: New, tmp_path: Path, clock: FakeClock) -> None:
    log = tmp_path / "temp_file_manager.log"
    handler = logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    logger = logging.getLogger("tempfleet")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        manager = new(str(tmp_path / "base"))
        manager.register_file(temporary_file("_a", ""))
        manager.register_file(temporary_file("_b", ""))
        tried: list[str] = []

        def refuse_the_first(point: str) -> None:
            if point == "guarded.found" and not tried:
                tried.append(point)
                raise PermissionError(13, "denied")

        faults.install(refuse_the_first)
        assert manager.clear_all() == 1
    finally:
        faults.install(None)
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()
    lines = log.read_text().splitlines()
    assert sum("Registered temporary file" in line for line in lines) == 2
    assert sum("Failed to remove" in line for line in lines) == 1
    assert sum("Cleaned up" in line for line in lines) == 1
    assert all(" - tempfleet - " in line for line in lines)
