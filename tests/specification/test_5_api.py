"""Section 5: the class, its methods and its attributes, call by call."""

from __future__ import annotations

import inspect
import logging
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from specification.material import New, exist, registered, temporary_file, undeletable
from support import assert_balanced
from tempfleet import TempFileManager
from tempfleet.testing import FakeClock

FIRST_PARAMETERS = {
    "__init__": ["base_dir", "max_age"],
    "register_file": ["file_path"],
    "cleanup": ["force"],
    "get_file_age": ["file_path"],
    "is_temp_file": ["file_path"],
    "clear_all": [],
}


@pytest.mark.parametrize("method", FIRST_PARAMETERS)
def test_5_1_the_methods_have_the_names_and_parameters_of_the_specification(method: str) -> None:
    names = FIRST_PARAMETERS[method]
    _, *params = inspect.signature(getattr(TempFileManager, method)).parameters.values()
    assert [param.name for param in params][: len(names)] == names
    assert all(param.default is not param.empty for param in params[len(names) :])


def test_5_1_the_constructor_creates_the_directory_and_has_an_hour_as_default(
    new: New, tmp_path: Path
) -> None:
    base_dir = str(tmp_path / "deep" / "base")
    assert (new(base_dir).max_age, stat.filemode(os.stat(base_dir).st_mode)) == (3600, "drwx------")
    assert new(base_dir, 60).max_age == 60


def test_5_1_a_directory_that_cannot_be_created_is_an_oserror(new: New, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for base_dir in (tmp_path / "file" / "base", tmp_path / "file"):
        with pytest.raises(OSError, match=r"Not a directory|File exists"):
            new(base_dir)


def test_5_1_register_file_accepts_a_relative_path_records_the_time_and_logs_it(
    new: New, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tempfleet")
    manager, path = new(), temporary_file()
    monkeypatch.chdir(os.path.dirname(path))
    manager.register_file(file_path=os.path.basename(path))
    assert dict(manager.files) == {path: clock.now_ms / 1000}
    assert f"Registered temporary file: {path}" in caplog.messages


def test_5_1_register_file_logs_a_warning_about_a_missing_file_and_does_not_raise(
    new: New, caplog: pytest.LogCaptureFixture
) -> None:
    manager, path = new(), f"{temporary_file()}.gone"
    manager.register_file(path)
    assert caplog.messages[-1] == f"Attempted to register non-existent file: {path}"
    assert not manager.is_temp_file(path)


def test_5_1_register_file_may_be_called_from_many_threads(new: New) -> None:
    manager = new()
    threads = [threading.Thread(target=registered, args=(manager, 5)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(manager.files) == 40


def test_5_1_cleanup_deletes_by_age_and_with_force_deletes_everything(new: New, clock: FakeClock) -> None:
    manager = new(max_age=100)
    (old,) = registered(manager, 1)
    clock.advance(60)
    (young,) = registered(manager, 1)
    clock.advance(40)
    assert (manager.cleanup(force=False), old.exists(), young.exists()) == (1, False, True)
    assert (manager.cleanup(True), young.exists()) == (1, False)


def test_5_1_cleanup_returns_the_number_of_deleted_files(new: New) -> None:
    manager = new()
    paths = registered(manager, 3)
    paths[0].unlink()
    count = manager.cleanup(force=True)
    assert (count, type(count)) == (2, int)
    assert manager.cleanup(force=True) == 0


def test_5_1_cleanup_may_run_in_many_threads_and_no_file_is_counted_twice(new: New) -> None:
    manager, counts = new(), list[int]()
    paths = registered(manager, 60)
    threads = [threading.Thread(target=lambda: counts.append(manager.cleanup(True))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(counts), exist(paths)) == (60, 0)
    assert_balanced(manager)


def test_5_1_cleanup_logs_its_result(new: New, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tempfleet")
    manager = new()
    registered(manager, 2)
    manager.cleanup(force=True)
    assert caplog.messages[-1].startswith(
        "Cleaned up 2 temporary files (0 quarantined, 0 missing, 0 replaced, 0 kept) in "
    )


def test_5_1_a_failed_deletion_keeps_its_record(new: New, caplog: pytest.LogCaptureFixture) -> None:
    manager = new()
    (path,) = registered(manager, 1)
    with undeletable():
        assert manager.cleanup(force=True) == 0
    assert f"Failed to remove temporary file {path}: EACCES" in caplog.messages
    assert manager.is_temp_file(path)
    assert manager.clear_all() == 1


def test_5_1_get_file_age_returns_a_float_or_none_if_the_file_is_not_registered(
    new: New, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = new()
    (path,) = registered(manager, 1)
    clock.advance(12.345)
    monkeypatch.chdir(path.parent)
    assert manager.get_file_age(file_path=path.name) == pytest.approx(12.345)
    assert isinstance(manager.get_file_age(path), float)
    assert manager.get_file_age(temporary_file()) is None


def test_5_1_is_temp_file_returns_whether_a_file_is_registered_also_if_it_is_missing(
    new: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = new()
    (path,) = registered(manager, 1)
    monkeypatch.chdir(path.parent)
    assert manager.is_temp_file(file_path=path.name) is True
    assert manager.is_temp_file(temporary_file()) is False
    path.unlink()
    assert manager.is_temp_file(path) is True


def test_5_1_clear_all_is_a_forced_clean_up(new: New) -> None:
    manager = new()
    paths = registered(manager, 3)
    assert (manager.clear_all(), exist(paths), len(manager.files)) == (3, 0, 0)


def test_5_2_base_dir_and_max_age_have_their_types(new: New, tmp_path: Path) -> None:
    manager = new(str(tmp_path / "base"), 1800)
    assert (manager.base_dir, manager.max_age) == (str(tmp_path / "base"), 1800)
    assert (type(manager.base_dir), type(manager.max_age)) == (str, int)


def test_5_2_files_maps_paths_to_their_registration_times(new: New, clock: FakeClock) -> None:
    manager = new()
    first, second = registered(manager, 2)
    assert dict(manager.files) == dict.fromkeys(map(str, (first, second)), clock.now_ms / 1000)
    del manager.files[str(first)]
    assert (list(manager.files), first.exists()) == ([str(second)], True)
    with pytest.raises(KeyError):
        del manager.files[str(first)]


def test_5_2_lock_is_a_threading_lock_for_callers(new: New) -> None:
    manager = new()
    assert type(manager.lock) is type(threading.Lock())
    with manager.lock:
        path = temporary_file()
        manager.files[path] = time.time()
        del manager.files[path]
    assert len(manager.files) == 0
