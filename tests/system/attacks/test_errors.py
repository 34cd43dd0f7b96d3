"""
An error or an interrupt between every two steps: a file is whole under its name, or begun and finished later. What lies
in the private directory is found, also if its process lives on.
"""

from __future__ import annotations

import errno
from pathlib import Path

import psutil
import pytest

from conftest import MakeManager
from support import assert_balanced, entries
from tempfleet import State, TempFileManager
from tempfleet.deletion import failpoints as faults
from tempfleet.testing import FakeClock

ERRORS = {"EIO": OSError(errno.EIO, "injected"), "interrupt": KeyboardInterrupt()}
POINTS = [point for point in faults.POINTS if not point.startswith(("exchange.", "recovery.", "restore."))]

pytestmark = pytest.mark.parametrize("redis_client", ["fake"], indirect=True)
every_error = pytest.mark.parametrize("error", ERRORS)
every_point = pytest.mark.parametrize("point", POINTS)


def fail_once(point: str, error: str) -> list[str]:
    """Raises *error* when *point* is reached for the first time. Returns the list of the points where it was raised."""
    raised: list[str] = []

    def at(reached: str) -> None:
        if reached == point and not raised:
            raised.append(point)
            raise ERRORS[error]

    faults.install(at)
    return raised


def clean(manager: TempFileManager) -> None:
    try:
        manager.cleanup()
    except KeyboardInterrupt:
        pass
    finally:
        faults.install(None)


def left_inside(manager: TempFileManager) -> list[str]:
    names = [name for root in manager.roots for name in root.private.names()]
    return [name for name in names if not name.startswith("audit.log")]


@every_error
@every_point
@pytest.mark.parametrize("grace", [0, 600], ids=["deleted", "quarantined"])
def test_an_error_between_two_steps_loses_no_file_and_leaves_none(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, point: str, error: str, grace: int
) -> None:
    manager = make_manager(quarantine_seconds=grace, secure_delete=True, in_use="delete")
    named, tree = base_dir / "named", base_dir / "tree"
    named.write_text("text")
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_text("text")
    manager.register(named, ttl=5)
    manager.register(tree, ttl=5, directory=True)
    manager.create(ttl=5).close()
    manager.create_dir(ttl=5)
    clock.advance(6)
    descriptors = psutil.Process().num_fds()
    fail_once(point, error)
    clean(manager)
    assert psutil.Process().num_fds() <= descriptors + 2  # the private directory, and the connection to Redis
    for path in (named, tree):
        record = manager.get_record(path)
        assert record is None or record.state is State.WAITING
    clock.advance(3600)
    for _ in range(2):
        make_manager(quarantine_seconds=grace, secure_delete=True, in_use="delete").cleanup()
        clock.advance(3600)
    assert entries(base_dir) == []
    assert left_inside(manager) == []
    assert manager.stats().active == 0
    assert_balanced(manager)


@every_error
@pytest.mark.parametrize("point", ["guarded.moved", "guarded.compared", "set-aside.noted", "set-aside.moved"])
@pytest.mark.parametrize("grace", [0, 600], ids=["deleted", "quarantined"])
def test_a_foreign_file_has_its_name_back_after_an_error(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, point: str, error: str, grace: int
) -> None:
    manager = make_manager(quarantine_seconds=grace)
    path = base_dir / "name"
    path.write_text("temporary")
    manager.register(path, ttl=5)
    clock.advance(6)
    raised: list[str] = []

    def at(reached: str) -> None:
        if reached == "guarded.found" and not raised:
            path.unlink()
            path.write_text("precious")
        if reached == point and not raised:
            raised.append(point)
            raise ERRORS[error]

    faults.install(at)
    clean(manager)
    assert path.read_text() == "precious"
    clock.advance(3600)
    make_manager(quarantine_seconds=grace).cleanup()
    assert path.read_text() == "precious"
    assert left_inside(manager) == []


@every_error
def test_a_file_that_is_not_destroyed_yet_has_its_name_back_at_once(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, error: str
) -> None:
    manager = make_manager()
    path = base_dir / "tree"
    path.mkdir()
    (path / "file").write_text("text")
    manager.register(path, ttl=5, directory=True)
    clock.advance(6)
    raised = fail_once("begin.recorded", error)
    clean(manager)
    assert raised
    assert (path / "file").read_text() == "text"


