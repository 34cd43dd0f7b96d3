"""Section 4.1: files are registered and tracked."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest

from specification.material import New, exist, registered, temporary_file
from tempfleet import FileMissing, TempFileManager
from tempfleet.testing import FakeClock


def test_4_1_the_example_registers_a_file_and_tracks_it(new: New) -> None:
    manager = new(max_age=3600)
    path = temporary_file(".json", '{"data": 1}')
    assert manager.register_file(path) is None  # type: ignore[func-returns-value]
    assert manager.is_temp_file(path) is True
    age = manager.get_file_age(path)
    assert isinstance(age, float)
    assert f"{age:.2f}" == "0.00"


def test_4_1_every_spelling_of_a_path_is_normalised(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    manager, path = new(), temporary_file()
    directory, name = os.path.split(path)
    monkeypatch.chdir(directory)
    for spelling in (name, f"./{name}", f"../{os.path.basename(directory)}/{name}", Path(path)):
        manager.register_file(spelling)
    assert list(manager.files) == [path]


def test_4_1_a_file_must_exist_to_be_registered(new: New) -> None:
    manager, path = new(), f"{temporary_file()}.gone"
    manager.register_file(path)
    with pytest.raises(FileMissing):
        manager.register(path)
    assert len(manager.files) == 0


def test_4_1_threads_can_register_the_same_and_other_files_at_once(new: New) -> None:
    manager, shared = new(), temporary_file()

    def work() -> None:
        manager.register_file(shared)
        registered(manager, 10)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(manager.files) == manager.stats().total("registered") == 51


def test_4_1_every_registration_is_a_line_in_the_log(new: New, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "tempfleet")
    paths = registered(new(), 2)
    assert caplog.messages[-2:] == [f"Registered temporary file: {path}" for path in paths]


# -- use cases


def test_4_1_intermediate_results_are_deleted_by_their_tag_after_the_job(new: New) -> None:
    manager = new()
    steps = [Path(temporary_file(f".{step}.parquet", "rows")) for step in ("extract", "clean", "join")]
    for path in steps:
        manager.register(path, tags=["job-7"])
    (other,) = registered(manager, 1)
    assert manager.cleanup_report(force=True, tags=["job-7"]).deleted == 3
    assert (exist(steps), other.exists()) == (0, True)


def test_4_1_a_chart_has_an_unguessable_path_and_is_deleted_on_time(new: New, clock: FakeClock) -> None:
    manager = new()
    with manager.create(prefix="chart-", suffix=".png", ttl=600) as chart:
        chart.write(b"\x89PNG")
        # The block must not delete it, because a user gets it.
        manager.unregister(chart.path)
    manager.register(chart.path, ttl=600)
    clock.advance(600)
    assert (manager.cleanup(), os.path.exists(chart.path)) == (1, False)


def test_4_1_a_report_is_tracked_and_renewed_while_it_is_read(new: New, clock: FakeClock) -> None:
    manager = new(max_age=100)
    (report,) = registered(manager, 1, ".pdf")
    clock.advance(90)
    manager.renew(report)
    clock.advance(90)
    assert (manager.get_file_age(report), manager.cleanup(), report.exists()) == (180, 0, True)
    clock.advance(10)
    assert manager.cleanup() == 1


def test_4_1_a_cache_file_lives_as_long_as_it_is_used(new: New, clock: FakeClock) -> None:
    manager: TempFileManager = new(max_age=100)
    used, unused = registered(manager, 2, ".cache")
    clock.advance(60)
    # A cache hit restarts the age of the file.
    manager.register_file(used)
    clock.advance(60)
    assert (manager.cleanup(), used.exists(), unused.exists()) == (1, True, False)
