"""
An error or an interrupt between every two steps: a file is whole under its name, or begun and finished later. What lies
in the private directory is found, also if its process lives on.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import MakeManager
from support import assert_balanced, entries
from tempfleet import State, TempFileManager, VolumeUnavailable
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


def put_foreign(path: Path) -> None:
    """Put another file under *path*. It has a second link, so it does not count as the rewrite of the first one."""
    path.unlink()
    path.write_text("precious")
    os.link(path, path.parent.with_name(f"link-{os.urandom(4).hex()}"))


def left_inside(base_dir: Path) -> list[str]:
    names = [path.name for path in base_dir.glob(".tempfleet-*/*")]
    return [name for name in names if not name.startswith(("audit.log", "clock.json"))]


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
    assert left_inside(base_dir) == []
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
            put_foreign(path)
        if reached == point and not raised:
            raised.append(point)
            raise ERRORS[error]

    faults.install(at)
    clean(manager)
    assert path.read_text() == "precious"
    clock.advance(3600)
    make_manager(quarantine_seconds=grace).cleanup()
    assert path.read_text() == "precious"
    assert left_inside(base_dir) == []


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


CALLS = ("rename", "unlink", "rmdir", "stat", "open", "write", "pwrite", "fstat", "scandir")


class Failing:
    """Lets the n-th system call fail that deleting makes. Without effect on other callers of the same functions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.left = -1

    def install(self, n: int) -> None:
        self.left = n
        for name in CALLS:
            self.monkeypatch.setattr(os, name, self._failing(getattr(os, name)))

    def _failing(self, call: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(call)
        def wrapper(*args: Any, **options: Any) -> object:
            if (
                sys._getframe(1)
                .f_globals["__name__"]
                .startswith(("tempfleet.deletion", "tempfleet.filesystem"))
            ):
                self.left -= 1
                if self.left == 0:
                    raise OSError(errno.EIO, "injected")
            return call(*args, **options)

        return wrapper


@pytest.mark.parametrize(
    ("grace", "purges"), [(0, False), (600, False), (600, True)], ids=["deleted", "quarantined", "purged"]
)
def test_an_error_of_any_system_call_loses_no_file_and_leaves_none(
    make_manager: MakeManager,
    clock: FakeClock,
    base_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    grace: int,
    purges: bool,
) -> None:
    failing, descriptors = Failing(monkeypatch), 0
    for n in itertools.count(1):
        manager = make_manager(quarantine_seconds=grace)
        tree, foreign = base_dir / "tree", base_dir / "foreign"
        tree.mkdir()
        (tree / "file").write_text("text")
        for name in ("named", "foreign"):
            (base_dir / name).write_text("temporary")
            manager.register(base_dir / name, ttl=5)
        manager.register(tree, ttl=5, directory=True)
        manager.create(ttl=5).close()
        manager.create_dir(ttl=5)
        clock.advance(6)
        if purges:
            manager.cleanup()
            clock.advance(grace)

        swapped: list[str] = []

        def at(reached: str, foreign: Path = foreign, swapped: list[str] = swapped) -> None:
            if reached == "guarded.found" and not (swapped or foreign.read_text() == "precious"):
                swapped.append(reached)
                put_foreign(foreign)

        faults.install(at)
        failing.install(n)
        try:
            manager.cleanup()
        except (OSError, VolumeUnavailable):
            pass
        finally:
            monkeypatch.undo()
            faults.install(None)
        for _ in range(2):
            clock.advance(3600)
            for path in base_dir.glob(".tempfleet-*/*.from"):
                os.utime(path, (0, 0))  # a companion without a file is removed after an hour
            later = make_manager(quarantine_seconds=grace)
            later.cleanup()
            later.close()
        manager.close()
        assert entries(base_dir) == (["foreign"] if swapped else []), n
        # its number is corrected when the quarantine seems to be full
        assert [name for name in left_inside(base_dir) if name != "quarantine.bytes"] == [], n
        reader = make_manager()
        assert reader.stats().active == 0, n
        assert_balanced(reader)
        reader.close()
        if swapped:
            assert foreign.read_text() == "precious", n
            foreign.unlink()
        descriptors = descriptors or psutil.Process().num_fds()
        assert psutil.Process().num_fds() <= descriptors, n
        if failing.left > 0:
            assert n > 20
            return


@pytest.mark.parametrize("point", ["guarded.found", "direct.found", "guarded.moved", "guarded.compared"])
def test_an_interrupt_leaves_no_write_lock_and_no_descriptor(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """At a step, and in each call that asks the kernel for the lock."""
    manager = make_manager()
    path = base_dir / "file"
    path.write_text("text")
    manager.register(path, ttl=5)
    made = manager.create(ttl=5)
    made.close()
    clock.advance(6)
    list(manager.preview())
    descriptors = psutil.Process().num_fds()
    original = fcntl.fcntl
    for n in range(1, 20):
        calls = itertools.count(1)

        def interrupted(*args: Any, n: int = n, calls: Iterator[int] = calls) -> Any:
            if next(calls) == n:
                raise KeyboardInterrupt
            return original(*args)

        monkeypatch.setattr(fcntl, "fcntl", interrupted)
        with pytest.raises(KeyboardInterrupt) if n <= 6 else nullcontext():
            list(manager.preview())
        monkeypatch.undo()
        assert psutil.Process().num_fds() == descriptors, n
    fail_once(point, "interrupt")
    clean(manager)
    assert psutil.Process().num_fds() <= descriptors + 1
    for name in (path, Path(made.path)):
        if name.exists():
            with name.open("r+b"):  # would wait for the process that has the write lock
                pass


@every_error
def test_the_journal_stays_while_a_begun_entry_does(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, error: str
) -> None:
    """Redis may lose the record meanwhile; then only the journal shows what the entry is."""
    manager = make_manager()
    tree = base_dir / "tree"
    tree.mkdir()
    manager.register(tree, ttl=5, directory=True)
    clock.advance(6)
    fail_once("begin.renamed", error)
    clean(manager)
    kinds = {name.partition(".")[0] for name in left_inside(base_dir)}
    assert not tree.exists() and "note" in kinds
    for _ in range(2):  # the claim of the record removes the entry, the next scan its journal
        clock.advance(3600)
        make_manager().cleanup()
    assert left_inside(base_dir) == []
