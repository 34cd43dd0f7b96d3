"""
Whether a process uses a file: files in use are kept, a write lock finds out, and trying it harms no process.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deletion_support import preview
from support import python
from tempfleet.deletion import failpoints as faults
from tempfleet.deletion.deleter import Deleter
from tempfleet.filesystem import in_use
from tempfleet.filesystem.creation import create_file
from tempfleet.filesystem.file_systems import WriteLocks
from tempfleet.filesystem.inspection import inspect
from tempfleet.filesystem.paths import new_name, normalise
from tempfleet.filesystem.roots import Roots
from tempfleet.filesystem.syscalls import Capabilities, System
from tempfleet.records import Deletion, FileRecord, Outcome
from tempfleet.settings.settings import InUse, Settings

write_locks = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has write locks")


@contextmanager
def opened_roots(
    tmp_path: Path, mode: InUse = InUse.KEEP, system: System | None = None, **values: object
) -> Iterator[Roots]:
    (tmp_path / "data").mkdir(exist_ok=True)
    roots = {"base_dir": str(tmp_path / "base"), "allowed_roots": (str(tmp_path / "data"),)}
    settings = Settings(**roots, in_use=mode, **values)
    with Roots.open(settings, system=system) as roots:
        yield roots


def registered(roots: Roots, path: Path, *, directory: bool = False) -> FileRecord:
    new = inspect(normalise(path), roots, ttl_ms=1000, directory=directory)
    return FileRecord(new.path, 0, 0, identity=new.identity, flags=new.flags, uid=new.uid)


def created(roots: Roots) -> FileRecord:
    name = new_name()
    os.close(create_file(roots, name, mode=0o600))
    return FileRecord(f"{roots.base.path}/{name}", 0, 0, flags="c", uid=os.geteuid())


def delete(roots: Roots, record: FileRecord) -> Deletion:
    [deletion] = Deleter(roots, roots.settings).delete([record], token=7, may_go_on=lambda: True)
    return deletion


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "file").write_text("x")
    return tmp_path / "data" / "file"


@pytest.mark.parametrize("mode", InUse)
def test_an_unused_file_is_overwritten_and_deleted(tmp_path: Path, file: Path, mode: InUse) -> None:
    with opened_roots(tmp_path, mode, secure_delete=True) as roots:
        assert delete(roots, registered(roots, file)).outcome is Outcome.DELETED
        assert delete(roots, created(roots)).outcome is Outcome.DELETED
        assert not file.exists()


@write_locks
def test_an_open_file_is_busy_until_it_is_closed(tmp_path: Path, file: Path) -> None:
    with opened_roots(tmp_path) as roots:
        for record in (registered(roots, file), created(roots)):
            with open(record.path, "rb"):
                done = delete(roots, record)
                assert (done.outcome, done.reason) == (Outcome.BUSY, "open")
                assert preview(roots, record) == done
            assert delete(roots, record).outcome is Outcome.DELETED


@pytest.mark.parametrize("can_lock", [True, False])
def test_a_locked_file_is_busy(tmp_path: Path, file: Path, can_lock: bool) -> None:
    system = None if can_lock else System(Capabilities())
    with opened_roots(tmp_path, system=system) as roots, file.open() as held:
        record = registered(roots, file)
        fcntl.flock(held, fcntl.LOCK_SH)
        done = delete(roots, record)
        assert (done.outcome, done.reason) == (Outcome.BUSY, "locked")
        assert file.exists()


def test_if_the_use_is_unknown_strict_keeps_the_file_and_keep_deletes_it(tmp_path: Path, file: Path) -> None:
    portable = System(Capabilities())
    with opened_roots(tmp_path, InUse.STRICT, portable) as roots:
        record = registered(roots, file)
        done = delete(roots, record)
        assert (done.outcome, done.reason) == (Outcome.BUSY, "in-use-unknown")
    with opened_roots(tmp_path, InUse.KEEP, portable) as roots:
        assert delete(roots, record).outcome is Outcome.DELETED


def test_delete_ignores_open_files(tmp_path: Path, file: Path) -> None:
    with opened_roots(tmp_path, InUse.DELETE) as roots, file.open():
        assert delete(roots, registered(roots, file)).outcome is Outcome.DELETED


@write_locks
def test_a_directory_with_an_open_file_in_it_is_busy(tmp_path: Path, file: Path) -> None:
    tree = tmp_path / "data" / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "f").write_text("x")
    with opened_roots(tmp_path) as roots:
        record = registered(roots, tree, directory=True)
        with (tree / "sub" / "f").open():
            assert delete(roots, record).outcome is Outcome.BUSY
        assert (tree / "sub" / "f").exists()
        assert delete(roots, record).outcome is Outcome.DELETED


@pytest.mark.process
@write_locks
@pytest.mark.parametrize("whole", [False, True], ids=["a file", "a directory with it"])
def test_a_file_with_another_process_write_lock_is_busy(tmp_path: Path, whole: bool) -> None:
    tree = tmp_path / "data" / "tree"
    tree.mkdir(parents=True)
    (tree / "f").write_text("x")
    with opened_roots(tmp_path) as roots:
        record = registered(roots, tree if whole else tree / "f", directory=whole)
        with _write_locked(tree / "f"):
            assert delete(roots, record).outcome is Outcome.BUSY
        assert (tree / "f").exists()


@contextmanager
def _write_locked(path: Path) -> Iterator[None]:
    """Another process holds the lock, and does not give it up when the kernel tells it to."""
    code = """
import fcntl, signal, sys
with open(sys.argv[1]) as file:
    fcntl.fcntl(file, 10, signal.SIGURG)
    fcntl.fcntl(file, 1024, fcntl.F_WRLCK)
    print("locked", flush=True)
    sys.stdin.read()
"""
    holder = python(code, path)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        yield
    finally:
        holder.communicate()


@write_locks
def test_opening_a_write_locked_file_does_not_kill_the_holder(tmp_path: Path, file: Path) -> None:
    """The trap: a broken write lock sends a signal, whose usual default is to terminate the holder."""

    def child() -> None:
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fd = os.open(file.parent, os.O_RDONLY)
        use, held = in_use.hold(fd, file.name, write_locks=WriteLocks.ALL)
        assert use is in_use.Use.FREE
        opener = subprocess.Popen(["head", "-c1", str(file)], stdout=subprocess.PIPE)
        while in_use.still_free(held):
            pass
        os.close(held)
        assert opener.communicate()[0] == b"x"

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20)
    assert process.exitcode == 0


@write_locks
def test_a_file_that_is_opened_at_the_last_moment_gets_its_name_back(tmp_path: Path, file: Path) -> None:
    openers: list[subprocess.Popen[bytes]] = []

    def at(point: str) -> None:
        if point == "guarded.moved":
            private = next(tmp_path.glob("data/.tempfleet-*"))
            [moved] = [path for path in private.iterdir() if not path.name.startswith(("note", "audit"))]
            openers.append(subprocess.Popen(["head", "-c1", str(moved)], stdout=subprocess.PIPE))
        if point == "guarded.compared":
            while not _waits(openers[0].pid):
                pass

    with opened_roots(tmp_path) as roots:
        record = registered(roots, file)
        faults.install(at)
        try:
            done = delete(roots, record)
        finally:
            faults.install(None)
    assert openers[0].communicate()[0] == b"x"
    assert (done.outcome, done.reason) == (Outcome.BUSY, "open")
    assert file.read_text() == "x"


def _waits(pid: int) -> bool:
    """Whether the process sleeps in the kernel, waiting for the write lock."""
    return Path(f"/proc/{pid}/wchan").read_text().startswith("__break_lease")


@write_locks
def test_the_working_directories_of_processes_are_found_by_their_paths(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a-b").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], cwd=tmp_path / "a" / "b", stdin=subprocess.PIPE
    )
    try:
        paths = in_use.working_directories()
        assert in_use.first_below(str(tmp_path / "a"), paths) == str(tmp_path / "a" / "b")
        assert in_use.first_below(str(tmp_path / "a" / "b"), paths) == str(tmp_path / "a" / "b")
        assert in_use.first_below(str(tmp_path / "a-b"), paths) == ""
    finally:
        process.communicate(b"\n")


def test_a_path_below_a_directory_is_found_behind_its_neighbours() -> None:
    paths = sorted(["/a", "/a-b", "/a.b/c", "/a/b", "/b"])
    assert in_use.first_below("/a", paths) == "/a"
    assert in_use.first_below("/a", paths[1:]) == "/a/b"
    assert in_use.first_below("/a.b", paths) == "/a.b/c"
    assert in_use.first_below("/a/b/c", paths) == ""
    assert in_use.first_below("/c", paths) == ""
