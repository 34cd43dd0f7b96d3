"""Dead letters through the manager, lists of records by state, and directories registered in one call."""

from __future__ import annotations

from pathlib import Path

import pytest

from tempfleet import NotRegistered, State, TempFileManager
from tempfleet.registry.values import Nack


def dead_letter(manager: TempFileManager, path: Path) -> Path:
    path.touch()
    manager.register(path)
    claim = manager.registry.claim_paths([str(path)], lease_ms=1000, until_ms=manager.registry.now_ms())
    manager.registry.nack(claim.token, [Nack(str(path), bury=True, reason="EACCES")])
    return path


def test_only_dead_letters_can_be_revived(manager: TempFileManager, base_dir: Path) -> None:
    path = base_dir / "a"
    path.touch()
    manager.register(path)
    with pytest.raises(NotRegistered):
        manager.revive(path)


def test_records_are_listed_by_state(manager: TempFileManager, base_dir: Path) -> None:
    dead = dead_letter(manager, base_dir / "dead")
    for name in ("waiting", "held"):
        (base_dir / name).touch()
        manager.register(base_dir / name)
    manager.hold(base_dir / "held")
    assert [record.path for record in manager.records(state=State.DEAD)] == [str(dead)]
    assert [Path(record.path).name for record in manager.records(state=State.WAITING)] == ["waiting"]
    assert [Path(record.path).name for record in manager.records(state=State.HELD)] == ["held"]
    assert len(list(manager.records())) == 3


def test_many_directories_can_be_registered_in_one_call(manager: TempFileManager, base_dir: Path) -> None:
    for name in ("a", "b"):
        (base_dir / name).mkdir()
    records = manager.register_many([base_dir / "a", base_dir / "b"], directory=True)
    assert all(record.is_directory for record in records)
    assert manager.cleanup(force=True) == 2
