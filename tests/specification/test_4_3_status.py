"""Section 4.3: the state of files can be queried."""

from __future__ import annotations

import os

import pytest

from specification.material import New, registered, temporary_file
from tempfleet.monitoring.metrics import FleetCollector
from tempfleet.registry.fleet import Fleet
from tempfleet.testing import FakeClock


def test_4_3_the_example_reads_state_and_age_as_time_passes(new: New, clock: FakeClock) -> None:
    manager = new(max_age=1800)
    (path,) = registered(manager, 1, ".log")
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
    assert [record.path for record in manager.files_due_within(1800 * 0.2)] == [str(path)]
    assert [record.path for record in manager.near_expiry()] == [str(path)]


def test_4_3_files_near_expiry_are_listed_each_by_its_own_time_to_live(new: New, clock: FakeClock) -> None:
    manager = new()
    short, long = temporary_file(), temporary_file()
    manager.register(short, ttl=100)
    manager.register(long, ttl=1000)
    clock.advance(80)
    assert manager.near_expiry() == []
    clock.advance(1)
    assert [record.path for record in manager.near_expiry()] == [short]
    assert [record.path for record in manager.near_expiry(0.05)] == [short, long]


def test_4_3_the_age_is_counted_from_registration_to_the_millisecond(new: New, clock: FakeClock) -> None:
    manager = new()
    (path,) = registered(manager, 1)
    clock.advance(0.001)
    assert manager.get_file_age(path) == pytest.approx(0.001)


def test_4_3_is_temp_file_does_not_read_the_disk(new: New) -> None:
    manager = new()
    (path,) = registered(manager, 1)
    assert not manager.is_temp_file(temporary_file())
    path.unlink()
    assert manager.is_temp_file(path)


def test_4_3_relative_paths_are_accepted(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = new()
    (path,) = registered(manager, 1)
    monkeypatch.chdir(path.parent)
    assert manager.is_temp_file(path.name)
    assert manager.get_file_age(os.path.join(".", path.name)) == 0


def test_4_3_a_change_by_one_manager_is_visible_to_another_at_once(new: New) -> None:
    first, second = new(), new()
    files = first.files
    (path,) = registered(first, 1)
    assert (second.is_temp_file(path), len(files)) == (True, 1)
    second.unregister(path)
    assert (first.is_temp_file(path), len(files)) == (False, 0)


# -- use cases


def test_4_3_lifetimes_are_monitored(new: New, clock: FakeClock) -> None:
    manager = new(max_age=60)
    registered(manager, 3)
    clock.advance(90)
    collector = FleetCollector(Fleet(manager.store), host="web-1")
    samples = {sample.name: sample.value for family in collector.collect() for sample in family.samples}
    assert (samples["temp_files_active"], samples["temp_files_due"]) == (3, 3)
    assert samples["temp_file_overdue_seconds"] == 30


def test_4_3_files_can_be_ordered_by_age(new: New, clock: FakeClock) -> None:
    manager = new()
    paths = []
    for _ in range(3):
        paths += registered(manager, 1)
        clock.advance(1)
    by_age = sorted(manager.files.items(), key=lambda item: item[1])
    assert [path for path, _ in by_age] == list(map(str, paths))


def test_4_3_explain_shows_what_will_happen_to_a_file_when_and_why(new: New, clock: FakeClock) -> None:
    manager = new(max_age=60)
    (path,) = registered(manager, 1)
    assert "is due in 1 min" in str(manager.explain(path))
    manager.hold(path, 600, reason="ticket 117")
    assert "is held for 10 min, because: ticket 117" in str(manager.explain(path))
    assert "is not registered" in str(manager.explain(path.parent / "another"))


def test_4_3_counts_bytes_and_a_forecast_help_to_plan_resources(new: New) -> None:
    manager = new(max_age=90)
    registered(manager, 4, content="x" * 1000)
    stats = manager.stats()
    assert (stats.active, stats.bytes, stats.due) == (4, 4000, 0)
    forecast = Fleet(manager.store).forecast([manager.volume], step_seconds=60, steps=3)
    assert forecast[manager.volume] == [0, 4, 0]
