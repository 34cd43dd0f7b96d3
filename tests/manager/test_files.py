"""``manager.files`` is a view of the registry. It stores nothing, and no assignment to it can leak a file."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path

import pytest
import redis

from support import assert_balanced
from tempfleet import AlreadyClaimed, FileMissing, TempFileManager, UnsafePath, VolumeUnavailable
from tempfleet.manager.files import Files
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]


@pytest.fixture
def paths(manager: TempFileManager, base_dir: Path) -> list[str]:
    """Returns three registered files."""
    paths = [str(base_dir.resolve() / name) for name in "abc"]
    for path in paths:
        Path(path).touch()
        manager.register_file(path)
    return paths


def test_files_is_a_mapping_of_paths_to_registration_times(
    manager: TempFileManager, paths: list[str], clock: FakeClock
) -> None:
    assert isinstance(manager.files, MutableMapping)
    assert sorted(manager.files) == sorted(manager.files.keys()) == paths
    assert manager.files[paths[0]] == clock.now_ms / 1000
    assert dict(manager.files.items()) == dict.fromkeys(paths, clock.now_ms / 1000)
    assert len(manager.files) == 3
    assert paths[0] in manager.files
    assert "/nowhere" not in manager.files
    assert 17 not in manager.files
    assert manager.files.get("/nowhere") is None
    with pytest.raises(KeyError):
        manager.files["/nowhere"]
    assert repr(manager.files) == f"<3 temporary files {manager.volume.in_words}>"


def test_paths_are_normalised_as_in_every_other_call(
    manager: TempFileManager, base_dir: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base_dir)
    assert "a" in manager.files
    assert os.path.join("..", base_dir.name, "a") in manager.files
    del manager.files["a"]
    assert sorted(manager.files) == paths[1:]


def test_iterating_loads_a_page_at_a_time(real_client: redis.Redis, base_dir: Path) -> None:
    manager = TempFileManager(base_dir, client=real_client)
    paths = [base_dir / str(n) for n in range(3000)]
    for path in paths:
        path.touch()
    manager.register_many(paths)

    def pages() -> int:
        return int(real_client.info("commandstats").get("cmdstat_hscan", {}).get("calls", 0))

    before = pages()
    assert len(list(itertools.islice(manager.files, 10))) == 10
    assert pages() - before == 1
    assert len(set(manager.files)) == 3000
    manager.close()


def test_items_and_values_cost_a_round_trip_for_a_thousand_files(
    real_client: redis.Redis, base_dir: Path
) -> None:
    manager = TempFileManager(base_dir, client=real_client)
    paths = [str(base_dir.resolve() / str(n)) for n in range(3000)]
    for path in paths:
        Path(path).touch()
    manager.register_many(paths)
    store = manager.store
    for view in (manager.files.items, manager.files.values, lambda: manager.files):
        before = store.round_trips
        assert sum(1 for _ in view()) >= 3000
        assert store.round_trips - before <= 4
    assert dict(manager.files.items()) == {
        record.path: record.registered_ms / 1000 for record in manager.registry.all_records()
    }
    manager.close()


def test_no_file_that_another_process_deletes_meanwhile_is_a_key_error(
    make_manager: MakeManager, paths: list[str], clock: FakeClock
) -> None:
    """The other one has deleted all files when this one has read the first of them."""
    files, other = make_manager().files, make_manager()
    keep = {
        "items": lambda: iter(files.items()),
        "values": lambda: iter(files.values()),
        "paths": lambda: iter(files),
        "keys": lambda: iter(files.keys()),
    }
    for name, begin in keep.items():
        iteration = begin()
        next(iteration)
        assert other.clear_all() == 3, name
        assert len(list(iteration)) == 2, name
        for path in paths:
            Path(path).touch()
            other.register_file(path)
    assert clock.now_ms / 1000 in files.values()
    assert 17.0 not in files.values()


class Vanishing(Files):
    """As if another process deleted each file right after the first read of it."""

    def __getitem__(self, path: str) -> float:
        registered = super().__getitem__(path)
        self._registry.unregister([path])
        os.remove(path)
        return registered


def test_taking_entries_out_never_fails_because_another_process_was_faster(
    manager: TempFileManager, paths: list[str], base_dir: Path
) -> None:
    files = manager.files
    vanishing = Vanishing(files._registry, files._cleaner, files._register_aged, files._unregister)
    assert vanishing.pop(paths[0], None) is None
    with pytest.raises(KeyError):
        vanishing.pop(paths[1])
    assert vanishing.pop("/nowhere", 17.0) == 17.0
    assert files.pop(paths[2]) > 0
    with pytest.raises(KeyError):
        files.popitem()
    (base_dir / "a").touch()
    manager.register(base_dir / "a")
    assert files.popitem()[0] == paths[0]
    for path in paths:
        Path(path).touch()
        manager.register(path)
    files._unregister = vanishing.pop
    files.clear()
    assert len(files) == 0
    assert_balanced(manager)


def test_an_entry_that_is_being_deleted_cannot_be_dropped(
    manager: TempFileManager, paths: list[str], clock: FakeClock
) -> None:
    clock.advance(3600)
    manager.registry.claim(limit=1, lease_ms=1000)
    with pytest.raises(AlreadyClaimed):
        del manager.files[paths[0]]
    assert len(manager.files) == 3


def test_an_entry_may_be_assigned_with_its_age(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    path = base_dir / "old"
    path.touch()
    clock.now_ms = round(time.time() * 1000)
    manager.files[str(path)] = clock.now_ms / 1000 - 3000
    assert manager.get_file_age(path) == pytest.approx(3000, abs=5)
    clock.advance(599)
    assert manager.cleanup() == 0
    clock.advance(10)
    assert manager.cleanup() == 1


def test_a_wrong_clock_of_this_host_never_makes_an_assigned_file_older(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    path = base_dir / "fresh"
    path.touch()
    for wrong_by in (-(10**6), 10**6):
        clock.now_ms = round((time.time() + wrong_by) * 1000)
        manager.files[str(path)] = time.time()
        assert manager.get_file_age(path) == pytest.approx(0, abs=5)
        manager.files[str(path)] = manager.files[str(path)]
        assert manager.get_file_age(path) == pytest.approx(0, abs=5)
        assert manager.cleanup() == 0


def test_an_entry_of_a_missing_file_cannot_be_assigned(manager: TempFileManager, base_dir: Path) -> None:
    with pytest.raises(FileMissing):
        manager.files[str(base_dir / "nothing")] = time.time()
    with pytest.raises(UnsafePath):
        manager.files[""] = time.time()
    assert len(manager.files) == 0


def test_assigning_files_drops_only_records_of_missing_files_that_are_not_assigned(
    manager: TempFileManager, paths: list[str]
) -> None:
    os.remove(paths[0])
    os.remove(paths[1])
    manager.files = {paths[1]: 0.0}
    assert sorted(manager.files) == paths[1:]
    assert manager.stats().total("missing") == 1
    manager.files = {}
    assert list(manager.files) == [paths[2]]
    assert manager.clear_all() == 1
    assert_balanced(manager)


def test_assigning_files_to_itself_changes_nothing(manager: TempFileManager, paths: list[str]) -> None:
    os.remove(paths[0])
    manager.files = manager.files
    assert len(manager.files) == 3


def test_clear_unregisters_all_files_and_deletes_none(manager: TempFileManager, paths: list[str]) -> None:
    manager.files.clear()
    assert len(manager.files) == 0
    assert all(os.path.exists(path) for path in paths)
    assert_balanced(manager)


def test_no_record_is_dropped_while_the_base_directory_is_missing(
    manager: TempFileManager, base_dir: Path
) -> None:
    path = base_dir / "a"
    path.touch()
    manager.register(path)
    base_dir.rename(base_dir.with_name("away"))
    base_dir.mkdir(0o700)
    with pytest.raises(VolumeUnavailable):
        manager.files = {}  # type: ignore[assignment]
    assert manager.is_temp_file(path)


def test_no_record_is_dropped_while_its_root_is_missing(make_manager: MakeManager, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(0o700)
    manager = make_manager(allowed_roots=(str(root),))
    path = root / "a"
    path.touch()
    manager.register(path)
    root.rename(tmp_path / "away")
    manager.files = {}  # type: ignore[assignment]
    assert manager.is_temp_file(path)
