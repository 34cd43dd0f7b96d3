"""Which of the directories that a deletion emptied are removed, and which stay."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tempfleet import TempFileManager
from tempfleet.deletion.empty_parents import parents_of, remove_empty
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]


@pytest.fixture
def manager(make_manager: MakeManager) -> TempFileManager:
    return make_manager(remove_empty_parents=True)


def registered(manager: TempFileManager, path: Path, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    manager.register(path, **how)  # type: ignore[arg-type]
    return path


def test_emptied_directories_are_removed_up_to_the_base_directory(
    manager: TempFileManager, base_dir: Path
) -> None:
    registered(manager, base_dir / "job" / "deep" / "er" / "a")
    registered(manager, base_dir / "job" / "b")
    assert manager.clear_all() == 2
    assert [name for name in os.listdir(base_dir) if not name.startswith(".tempfleet")] == []


def test_the_private_directory_is_never_one_of_the_emptied_directories(manager: TempFileManager) -> None:
    roots = manager.roots
    roots.base.private.open()
    assert list(parents_of(f"{roots.base.private.path}/file", roots)) == []
    assert list(parents_of(f"{roots.base.path}/job/file", roots)) == [f"{roots.base.path}/job"]


def test_emptied_directories_stay_by_default(make_manager: MakeManager, base_dir: Path) -> None:
    manager = make_manager()
    registered(manager, base_dir / "job" / "a")
    manager.clear_all()
    assert (base_dir / "job").is_dir()


def test_a_directory_that_is_not_empty_stays(manager: TempFileManager, base_dir: Path) -> None:
    registered(manager, base_dir / "job" / "deep" / "a")
    (base_dir / "job" / "other").touch()
    manager.clear_all()
    assert os.listdir(base_dir / "job") == ["other"]


def test_a_registered_directory_stays_until_its_deadline(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    made = manager.create_dir(ttl=1000)
    registered(manager, Path(made.path) / "sub" / "a", ttl=1)
    clock.advance(2)
    assert manager.cleanup() == 1
    assert os.listdir(made.path) == []


@pytest.mark.parametrize("held", [False, True])
def test_a_directory_that_another_volume_registered_stays(
    manager: TempFileManager, make_manager: MakeManager, base_dir: Path, tmp_path: Path, held: bool
) -> None:
    other = make_manager(tmp_path / "other", allowed_roots=(str(base_dir),))
    file = registered(manager, base_dir / "job" / "a")
    other.register(base_dir / "job", directory=True, ttl=1000)
    if held:
        other.hold(base_dir / "job")
    assert manager.clear_all() == 1
    assert not file.exists()
    assert (base_dir / "job").is_dir()


def test_another_volumes_base_directory_stays(
    manager: TempFileManager, make_manager: MakeManager, base_dir: Path
) -> None:
    inner = make_manager(base_dir / "inner", remove_empty_parents=True)
    inner.create().close()
    registered(manager, base_dir / "inner" / "ours")
    inner.clear_all()
    manager.clear_all()
    shutil.rmtree(base_dir / "inner" / f".tempfleet-{os.geteuid()}")  # now it contains only the file
    registered(manager, base_dir / "inner" / "ours")
    manager.clear_all()
    assert os.listdir(base_dir / "inner") == []


def test_a_symlink_is_not_removed_and_not_followed(
    manager: TempFileManager, base_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside" / "empty").mkdir(parents=True)
    (base_dir / "link").symlink_to(tmp_path / "outside")
    assert remove_empty([str(base_dir / "link"), str(base_dir / "link" / "empty")], manager.roots) == []
    assert (tmp_path / "outside" / "empty").is_dir() and (base_dir / "link").is_symlink()


def test_a_quarantined_file_can_return_to_its_directory(
    make_manager: MakeManager, base_dir: Path, clock: FakeClock
) -> None:
    manager = make_manager(remove_empty_parents=True, quarantine_seconds=60)
    path = registered(manager, base_dir / "job" / "a", ttl=1)
    clock.advance(2)
    manager.cleanup()
    manager.restore(path)
    assert path.exists()


def test_outside_the_base_directory_emptied_directories_stay(
    make_manager: MakeManager, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    manager = make_manager(remove_empty_parents=True, allowed_roots=(str(root),))
    root.mkdir(0o700)
    manager = make_manager(remove_empty_parents=True, allowed_roots=(str(root),))
    registered(manager, root / "job" / "a")
    assert manager.clear_all() == 1
    assert (root / "job").is_dir()
