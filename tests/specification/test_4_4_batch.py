"""Section 4.4: many files in one call."""

from __future__ import annotations

from pathlib import Path

from specification.material import New, exist, registered, temporary_file
from support import assert_balanced
from tempfleet.testing import FakeClock


def test_4_4_the_example_registers_reads_and_cleans_ten_files(new: New, clock: FakeClock) -> None:
    manager = new(max_age=600)
    paths = registered(manager, 10)
    managed = [(path, manager.get_file_age(path)) for path in paths if manager.is_temp_file(path)]
    assert [path for path, _ in managed] == paths
    assert {f"{age:.2f}" for _, age in managed} == {"0.00"}
    assert manager.cleanup() == 0
    clock.advance(600)
    assert manager.cleanup() == 10


def test_4_4_a_list_of_files_is_registered_in_one_call(new: New) -> None:
    manager, paths = new(), [temporary_file() for _ in range(10)]
    assert [record.path for record in manager.register_many(paths)] == paths


def test_4_4_a_list_of_files_is_read_in_one_round_trip(new: New, clock: FakeClock) -> None:
    manager = new()
    paths = registered(manager, 10)
    clock.advance(7)
    before = manager.store.round_trips
    records = manager.get_records(["/no/such/file", *paths, "/no/such/file"])
    assert manager.store.round_trips - before == 1
    assert [record and record.path for record in records] == [None, *map(str, paths), None]


def test_4_4_files_are_cleaned_by_tag_or_by_prefix(new: New, clock: FakeClock) -> None:
    manager = new()
    a, b = temporary_file("_a"), temporary_file("_b")
    manager.register(a, tags=["night", "reports"])
    manager.register(b, tags=["night"])
    assert manager.cleanup_batch(force=True, tags=["night", "reports"]).deleted == 1
    assert manager.cleanup_batch(force=True, prefix="/elsewhere").files == []
    assert [file.path for file in manager.cleanup_batch(force=True, prefix=b).files] == [b]


def test_4_4_a_batch_has_statistics(new: New) -> None:
    manager, paths = new(), [temporary_file(content="abc") for _ in range(3)]
    result = manager.register_batch([*paths, f"{paths[0]}.gone"])
    assert (result.registered, result.missing, result.failed, result.bytes) == (3, 1, 0, 9)
    Path(paths[0]).unlink()
    result = manager.cleanup_batch(force=True)
    assert (result.deleted, result.missing, result.failed) == (2, 1, 0)
    assert result.bytes > 0
    assert result.seconds >= 0
    assert {file.path: file.outcome for file in result.files}[paths[0]] == "missing"


# -- use cases


def test_4_4_large_numbers_of_data_files_take_one_round_trip_per_batch(new: New, tmp_path: Path) -> None:
    manager = new(batch_size=1000)
    parts = [tmp_path / "tmp" / f"part-{i}" for i in range(3000)]
    for part in parts:
        part.touch()
    before = manager.store.round_trips
    records = manager.register_many(parts, tags=["load"])
    assert manager.store.round_trips - before <= 4
    assert [record.path for record in records] == list(map(str, parts))
    assert manager.clear_all() == 3000
    assert_balanced(manager)


def test_4_4_a_starting_system_first_deletes_expired_files(new: New, clock: FakeClock) -> None:
    paths = registered(new(max_age=60), 3)
    clock.advance(60)
    (young,) = registered(new(), 1)
    # Without the setting a start deletes nothing.
    assert exist(paths) == 3
    new(cleanup_on_start=True)
    assert (exist(paths), young.exists()) == (0, True)


def test_4_4_storage_is_kept_clean_by_repeated_batches(new: New, clock: FakeClock) -> None:
    """With processes, by workers and beat: tests/system/stories/test_two_hosts.py."""
    manager = new(max_age=10, batch_size=10)
    for _ in range(3):
        registered(manager, 25)
        clock.advance(10)
        assert manager.cleanup_report().batches == 3
        assert manager.stats().active == 0


def test_4_4_a_test_environment_deletes_only_the_files_it_registered(new: New) -> None:
    (foreign,) = registered(new(), 1)
    with new() as manager:
        ours = registered(manager, 5)
    assert (exist(ours), foreign.exists()) == (0, True)
