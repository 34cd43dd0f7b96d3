"""
A forked child has a copy of every descriptor, and the kernel's locks belong to the open file. No lock of ours may last
until the child ends: not if we give it back, and not if we are killed.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import MakeManager
from support import kernel_locks, wait_until
from tempfleet import State
from tempfleet.deletion import companion
from tempfleet.deletion import failpoints as faults
from tempfleet.testing import FakeClock

pytestmark = pytest.mark.parametrize("redis_client", ["fake"], indirect=True)


@contextmanager
def children() -> Iterator[Callable[[], int]]:
    """Forks children that wait. They end with the block."""
    pids: list[int] = []

    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        pids.append(pid)
        return pid

    try:
        yield fork
    finally:
        faults.install(None)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def locks_in(directory: Path) -> list[str]:
    """The locks of all processes on files of *directory*, by inode."""
    inodes = {str(path.lstat().st_ino) for path in directory.rglob("*")}
    lines = Path("/proc/locks").read_text().splitlines()
    return [line for line in lines if line.split()[-3].rpartition(":")[2] in inodes]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("grace", [0, 600], ids=["deleted", "quarantined"])
@pytest.mark.parametrize("point", ["guarded.found", "guarded.moved", "set-aside.noted", "direct.found"])
def test_no_lock_lasts_longer_because_a_child_was_forked_meanwhile(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, point: str, grace: int
) -> None:
    manager = make_manager(quarantine_seconds=grace)
    before = kernel_locks()
    kept, gone = base_dir / "kept", base_dir / "gone"
    for path in (kept, gone):
        path.write_text("text")
        manager.register(path, ttl=5)
    manager.create(ttl=5).close()
    clock.advance(6)
    with children() as fork:

        def at(reached: str) -> None:
            if reached == point:
                fork()
            if reached == "guarded.found" and kept.exists() and not (base_dir / "link").exists():
                os.link(kept, base_dir / "link")  # a second name, by which applications open it
            if reached == "guarded.compared":
                raise OSError(5, "it stays")

        faults.install(at)
        manager.cleanup()
        faults.install(None)
        assert kernel_locks() == before
        assert locks_in(base_dir) == []
        with kept.open("r+b"):  # would wait for whoever has the write lock
            pass
        assert manager.get_record(kept).state is State.WAITING


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_note_of_a_killed_process_is_not_kept_locked_by_its_child(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    manager = make_manager()
    path = base_dir / "file"
    path.write_text("text")
    manager.register(path, ttl=5)
    clock.advance(6)
    parent = os.fork()
    if parent == 0:

        def at(point: str) -> None:
            if point == "guarded.moved":
                child = os.fork()
                if child == 0:
                    signal.pause()
                    os._exit(0)
                (base_dir.parent / "child").write_text(str(child))
                os.kill(os.getpid(), signal.SIGKILL)

        faults.install(at)
        manager.cleanup()
        os._exit(1)
    os.waitpid(parent, 0)
    child = int(wait_until((base_dir.parent / "child").read_text))
    try:
        assert not path.exists()
        wait_until(lambda: not manager.cleaner.deleter.is_moving())  # the child may not have run yet
        manager.cleaner.deleter.recover()
        assert path.exists()
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_room_in_quarantine_is_not_kept_locked_by_a_child(
    make_manager: MakeManager, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = make_manager(quarantine_seconds=600)
    private = manager.roots.base.private.open()
    with children() as fork:
        with companion._locked(private, os.O_CREAT):
            fork()
        fd = os.open(companion.ROOM, os.O_RDWR, dir_fd=private)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(fd)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_goes_on_closes_no_other_file(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    """A preview holds a write lock, and the caller forks in the middle of it; both go on."""
    manager = make_manager()
    path = base_dir / "file"
    path.write_text("text")
    manager.register(path, ttl=5)
    clock.advance(6)
    child = [-1]

    def at(point: str) -> None:
        if point == "guarded.found" and child == [-1]:
            child[0] = os.fork()

    faults.install(at)
    try:
        results = list(manager.preview())
        if child[0] == 0:
            os._exit(0 if len(results) == 1 else 1)
        assert len(results) == 1
        assert os.waitpid(child[0], 0)[1] == 0
    finally:
        faults.install(None)
        if child[0] == 0:
            os._exit(2)
