"""Directories that are hard to empty: read-only, with an entry that cannot be removed, or refilled by processes."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import MakeManager
from deletion_support import needs_root
from support import assert_balanced
from tempfleet import TempFileManager
from tempfleet.deletion import failpoints, session
from tempfleet.records import FileRecord, Outcome
from tempfleet.registry import scripts
from tempfleet.testing import FakeClock

NOBODY = 65534


def modes(top: Path) -> dict[str, int]:
    paths = [top, *top.rglob("*")]
    return {str(path.relative_to(top)): stat.S_IMODE(path.lstat().st_mode) for path in paths}


def module_cache(top: Path) -> Path:
    """As Go makes it: nobody may write to a directory of it, nor to a file."""
    for n in range(3):
        deep = top / "cache" / f"module{n}@v1" / "internal" / "deep"
        deep.mkdir(parents=True)
        for name in ("go.mod", "x.go"):
            (deep / name).write_text("x")
            (deep.parent / name).write_text("x")
    for directory, _, names in os.walk(top, topdown=False):
        for name in names:
            os.chmod(Path(directory, name), 0o444)
        os.chmod(directory, 0o500 if directory.endswith("deep") else 0o555)
    return top


@contextmanager
def nobody(base_dir: Path) -> Iterator[None]:
    """Without the rights of root, as the owner of *base_dir*."""
    for above in base_dir.parents[:4]:
        os.chmod(above, 0o755)
    base_dir.mkdir(mode=0o700, exist_ok=True)
    for path in [base_dir, *base_dir.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    for name in scripts.names():
        scripts.load(name)  # the interpreter and its packages may not be readable then
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def due_tree(manager: TempFileManager, clock: FakeClock, top: Path) -> Path:
    manager.register(top, ttl=1, directory=True)
    clock.advance(2)
    return top


def record_of(manager: TempFileManager, path: Path) -> FileRecord:
    record = manager.get_record(path)
    assert record is not None
    return record


@needs_root
@pytest.mark.parametrize("created", [False, True])
def test_own_directories_that_are_read_only_go(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, created: bool
) -> None:
    with nobody(base_dir):
        manager = make_manager()
        top = Path(manager.create_dir(ttl=1).path) if created else base_dir / "tree"
        due_tree(manager, clock, module_cache(top))
        assert [deletion.outcome for deletion in manager.preview()] == [Outcome.DELETED]
        assert manager.cleanup() == 1
        assert not top.exists()
        assert_balanced(manager)


@needs_root
def test_a_read_only_directory_is_quarantined_and_restored_with_its_modes(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    with nobody(base_dir):
        manager = make_manager(quarantine_seconds=60)
        top = due_tree(manager, clock, module_cache(base_dir / "tree"))
        before = modes(top)
        assert manager.cleanup_report().set_aside == 1
        manager.restore(top)
        assert modes(top) == before


@needs_root
@pytest.mark.parametrize("way", ["kept", "raced"])
def test_a_read_only_directory_that_stays_has_its_mode_back(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, way: str
) -> None:
    """It was moved into the private directory before that was clear."""
    with nobody(base_dir):
        manager = make_manager()
        top = due_tree(manager, clock, module_cache(base_dir / "tree"))
        before = modes(top)
        inside = top / "cache" / "module0@v1" / "internal" / "x.go"
        failpoints.install(
            lambda point: (
                manager.registry.register([manager.inspect(inside, ttl=3600)])
                if point == "guarded.found" and way == "kept"
                else None
            )
        )
        if way == "raced":
            failpoints.install(lambda point: 1 // 0 if point == "guarded.compared" else None)
        try:
            if way == "kept":
                assert manager.cleanup() == 0
            else:
                with pytest.raises(ZeroDivisionError):
                    manager.cleanup()
        finally:
            failpoints.install(None)
        assert modes(top) == before | ({str(inside.relative_to(top)): 0o400} if way == "kept" else {})


@needs_root
@pytest.mark.parametrize("tries", [1, 3])
def test_what_cannot_be_emptied_keeps_its_shape_and_its_modes(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, tries: int
) -> None:
    """A file in a directory of another user. What was removed before is gone; nothing else has changed."""
    of_root = "cache/module1@v1/internal/deep/of-root"
    with nobody(base_dir):
        top = module_cache(base_dir / "tree")
        os.seteuid(0)
        (top / of_root).mkdir(mode=0o755)
        (top / of_root / "file").write_text("x")
        os.seteuid(NOBODY)
        manager = make_manager()
        due_tree(manager, clock, top)
        before = modes(top)
        for _ in range(tries):
            assert manager.cleanup_report().counts[Outcome.FAILED] == 1
            assert (top / of_root / "file").read_text() == "x"
            assert modes(top).items() <= before.items()
            clock.advance(7200)
        assert record_of(manager, top).last_error == "EACCES"


@needs_root
@pytest.mark.parametrize("mode", [0o000, 0o300, 0o400, 0o600])
@pytest.mark.parametrize("way", ["expired", "forced", "quarantined"])
def test_a_held_file_in_a_directory_that_cannot_be_looked_into_stays(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, mode: int, way: str
) -> None:
    """Nobody can tell what is registered in it, so the directory above it stays as it is."""
    with nobody(base_dir):
        manager = make_manager(quarantine_seconds=60 if way == "quarantined" else 0)
        top = base_dir / "tree"
        sealed = top / "sealed"
        held = sealed / "sub" / "file"
        held.parent.mkdir(parents=True)
        for path in (held, top / "other"):
            path.write_text("x")
        manager.register(held, ttl=1)
        manager.hold(held, 360_000)
        due_tree(manager, clock, top)
        os.chmod(sealed, mode)
        for _ in range(3):
            if way == "forced":
                manager.cleanup_report(force=True, prefix=top)
            else:
                manager.cleanup()
            clock.advance(7200)
        assert record_of(manager, top).last_error == "EACCES"
        assert (stat.S_IMODE(sealed.stat().st_mode), (top / "other").exists()) == (mode, True)
        os.chmod(sealed, 0o700)
        assert held.read_text() == "x"


@needs_root
def test_a_read_only_directory_that_is_refilled_has_its_mode_back(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "REFILLED_SECONDS", 0.1)
    with nobody(base_dir):
        manager, top = make_manager(), base_dir / "tree"
        (top / "sub").mkdir(parents=True)
        (top / "sub" / "file").write_text("x")
        os.chmod(top / "sub", 0o555)
        due_tree(manager, clock, top)
        fd = os.open(top / "sub", os.O_RDONLY)
        names = itertools.count()
        failpoints.install(
            lambda point: os.symlink("x", str(next(names)), dir_fd=fd) if point == "tree.entry" else None
        )
        try:
            assert manager.cleanup() == 0
            assert record_of(manager, top).last_error == "refilled"
            assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o555
        finally:
            failpoints.install(None)
            os.close(fd)


@needs_root
def test_what_a_dead_process_began_and_cannot_be_emptied_has_its_name_and_shape_back(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    manager, top = make_manager(), base_dir / "tree"
    (top / "a" / "b").mkdir(parents=True)
    for name in ("a/1", "a/2", "a/b/fixed"):
        (top / name).write_text("x")
    due_tree(manager, clock, top)
    if subprocess.run(
        ["chattr", "+i", top / "a" / "b" / "fixed"], check=False, capture_output=True
    ).returncode:
        pytest.skip("this file system knows no immutable files")
    fixed = top / "a" / "b" / "fixed"
    try:
        failpoints.install(lambda point: 1 // 0 if point == "begin.renamed" else None)
        with pytest.raises(ZeroDivisionError):
            manager.cleanup()
        failpoints.install(None)
        clock.advance(7200)
        assert make_manager().cleanup() == 0
        assert set(modes(top)) <= {".", "a", "a/b", "a/b/fixed", "a/1", "a/2"}
        assert fixed.exists()
    finally:
        failpoints.install(None)
        for path in base_dir.rglob("fixed"):
            subprocess.run(["chattr", "-i", path], check=True)


@pytest.mark.parametrize("depth", [3, 400])
def test_a_directory_that_is_moved_away_while_it_is_emptied_leads_nowhere(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, depth: int
) -> None:
    """Its ".." is another directory then. Nothing there is touched, and the tree goes."""
    manager, top, elsewhere = make_manager(), base_dir / "tree", base_dir / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    deepest = top
    top.mkdir()
    for _ in range(depth):
        deepest = deepest / "d"
        deepest.mkdir()
    (deepest / "file").write_text("x")
    due_tree(manager, clock, top)
    fd = os.open(top / "d", os.O_RDONLY)
    todo = [1]

    def move(point: str) -> None:
        if point == "tree.entry" and todo and todo.pop():
            os.rename("d", elsewhere / "d", src_dir_fd=fd)

    failpoints.install(move)
    try:
        assert manager.cleanup() == 1
    finally:
        failpoints.install(None)
        os.close(fd)
    assert not top.exists()
    assert (elsewhere / "precious").read_text() == "x"
    assert (elsewhere / "d").exists()


def test_what_is_moved_out_of_a_tree_while_it_is_emptied_is_left_alone(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    """Except for the one directory that is being read at that moment."""
    manager, top, elsewhere = make_manager(), base_dir / "tree", base_dir / "elsewhere"
    for name in "abc":
        (top / "d" / name / "sub").mkdir(parents=True)
        (top / "d" / name / "sub" / "file").write_text("x")
    due_tree(manager, clock, top)
    fd = os.open(top, os.O_RDONLY)
    todo = [1]
    failpoints.install(
        lambda point: (
            os.rename("d", elsewhere, src_dir_fd=fd)
            if point == "tree.entry" and todo and todo.pop()
            else None
        )
    )
    try:
        assert manager.cleanup() == 1
    finally:
        failpoints.install(None)
        os.close(fd)
    assert not top.exists()
    assert len(list(elsewhere.glob("?/sub/file"))) == 2


@pytest.mark.parametrize("where", [".", "sub/deep"], ids=["at its top", "deep in it"])
@pytest.mark.parametrize("entry", ["link", "file", "directory"])
def test_a_tree_that_is_refilled_starves_no_other_file_and_waits_longer_each_time(
    make_manager: MakeManager,
    clock: FakeClock,
    base_dir: Path,
    where: str,
    entry: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a process that has a directory of it open. It adds one entry for each that is removed."""
    monkeypatch.setattr(session, "REFILLED_SECONDS", 0.1)
    manager, top = make_manager(batch_size=10), base_dir / "tree"
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "sub" / "deep" / "first").touch()
    due_tree(manager, clock, top)
    files = [base_dir / str(n) for n in range(60)]
    for path in files:
        path.write_text("x")
    manager.register_many(files, ttl=1)
    other_tree = base_dir / "other"
    other_tree.mkdir()
    due_tree(manager, clock, other_tree)
    fd = os.open(top / where, os.O_RDONLY)
    names = itertools.count()

    def refill(point: str) -> None:
        if point == "tree.entry":
            name = f"new{next(names)}"
            if entry == "directory":
                os.mkdir(name, dir_fd=fd)
                name = f"{name}/file"
            if entry == "link":
                os.symlink("x", name, dir_fd=fd)
            else:
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))

    failpoints.install(refill)
    try:
        report = manager.cleaner.clean_due(budget_seconds=60)
        assert (report.deleted, report.finished, report.handed_back) == (61, True, 0)
        assert not any(path.exists() for path in [*files, other_tree])
        record = record_of(manager, top)
        assert (record.last_error, record.attempts) == ("refilled", 0)
        waits = []
        for _ in range(6):
            assert record.due_ms is not None
            waits.append(record.due_ms - clock.now_ms)
            clock.advance(waits[-1] / 1000)
            assert manager.cleaner.clean_due(budget_seconds=60).deleted == 0
            record = record_of(manager, top)
        assert waits[-1] > 2 * waits[0]
    finally:
        failpoints.install(None)
        os.close(fd)
    clock.advance(3600)
    assert manager.cleanup() == 1
    assert not any(base_dir.rglob("new*"))
    assert_balanced(manager)


def test_a_tree_that_is_refilled_does_not_keep_a_clean_up_without_a_budget(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "REFILLED_SECONDS", 0.2)
    manager, top = make_manager(), base_dir / "tree"
    top.mkdir(parents=True)
    (top / "first").touch()
    due_tree(manager, clock, top)
    fd = os.open(top, os.O_RDONLY)
    names = itertools.count()
    failpoints.install(
        lambda point: os.symlink("x", str(next(names)), dir_fd=fd) if point == "tree.entry" else None
    )
    try:
        assert manager.clear_all() == 0
        assert record_of(manager, top).last_error == "refilled"
    finally:
        failpoints.install(None)
        os.close(fd)


def test_many_trees_that_are_refilled_share_the_time_of_one(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "REFILLED_SECONDS", 0.3)
    manager, opened, names = make_manager(), list[int](), itertools.count()

    def refill(point: str) -> None:
        if point == "tree.entry":
            for fd in opened:
                if not os.listdir(fd):
                    os.symlink("x", str(next(names)), dir_fd=fd)

    def seconds_with(trees: int) -> float:
        tops = [base_dir / f"{trees}-{n}" for n in range(trees)]
        for top in tops:
            top.mkdir(parents=True)
            (top / "first").touch()
            due_tree(manager, clock, top)
            opened.append(os.open(top, os.O_RDONLY))
        began = time.monotonic()
        assert manager.cleanup() == 0
        assert {record_of(manager, top).last_error for top in tops} == {"refilled"}
        return time.monotonic() - began

    failpoints.install(refill)
    try:
        assert seconds_with(20) < 10 * seconds_with(1)
    finally:
        failpoints.install(None)
        for fd in opened:
            os.close(fd)


def test_a_large_tree_takes_several_shares_and_goes_on_soon(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, at_each_entry: Callable[[float], None]
) -> None:
    manager, top = make_manager(batch_size=5), base_dir / "tree"
    top.mkdir()
    for n in range(40):
        (top / str(n)).touch()
    due_tree(manager, clock, top)
    path = base_dir / "file"
    path.touch()
    manager.register(path, ttl=1)
    clock.advance(100_000)
    at_each_entry(0.01)
    report = manager.cleaner.clean_due(budget_seconds=0.4)
    assert (report.deleted, report.counts[Outcome.BUSY]) == (1, 1)
    for _ in range(20):
        record = manager.get_record(top)
        if record is None:
            break
        assert record.last_error == "unfinished" and record.attempts == 0
        assert record.due_ms is not None and record.due_ms - clock.now_ms <= 5000
        clock.advance(5)
        manager.cleaner.clean_due(budget_seconds=0.4)
    assert not top.exists()
    assert_balanced(manager)


@pytest.fixture
def at_each_entry() -> Iterator[Callable[[float], None]]:
    """Lets each entry of a tree take so many seconds, as on a slow disk."""

    def install(seconds: float) -> None:
        slow = ["sleep", str(seconds)]
        failpoints.install(lambda point: subprocess.run(slow, check=True) if point == "tree.entry" else None)

    yield install
    failpoints.install(None)
