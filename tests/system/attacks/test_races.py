"""
Names are swapped during a deletion. No file but the registered one may be deleted.

Some tests swap in a real process as fast as it can. The others swap exactly between two system calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import psutil
import pytest

from deletion_support import attacker, delete, exchange, needs_linux, registered, settings_for
from tempfleet.compression.reader import open_content
from tempfleet.deletion import failpoints as faults
from tempfleet.deletion.deleter import Deleter
from tempfleet.deletion.journal import Journal
from tempfleet.deletion.promises import NOBODY
from tempfleet.deletion.recovery import recover
from tempfleet.errors import UnsafePath
from tempfleet.filesystem.private_directory import FROM
from tempfleet.filesystem.roots import Roots
from tempfleet.filesystem.syscalls import System
from tempfleet.records import FileRecord, Outcome

ROUNDS = 2000


@pytest.fixture
def roots(tmp_path: Path, system: System) -> Iterator[Roots]:
    with Roots.open(settings_for(tmp_path), system=system) as opened:
        yield opened


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "data"


@needs_linux
def test_exchanging_the_name_never_deletes_the_other_file(data: Path, roots: Roots) -> None:
    name, other = data / "name", data / "other"
    _race(data, roots, name, (name, other), lambda: exchange(name, other))


@needs_linux
def test_exchanging_the_parent_never_deletes_a_file_of_that_name_elsewhere(data: Path, roots: Roots) -> None:
    ours, theirs = data / "ours", data / "theirs"
    ours.mkdir()
    theirs.mkdir()
    _race(data, roots, ours / "f", (ours / "f", theirs / "f"), lambda: exchange(ours, theirs))


def _race(
    data: Path, roots: Roots, target: Path, names: tuple[Path, Path], attack: Callable[[], None]
) -> None:
    """Deletes a temporary file that changes places with a precious file all the time. The record is the temporary's."""
    names[1].write_text("precious")
    precious = os.open(names[1], os.O_RDONLY)
    outcomes: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
    record = None
    with attacker(attack):
        for _ in range(ROUNDS):
            if record is None:
                record = _fresh(data, roots, target, names)
            [deletion] = delete(roots, record)
            outcomes[deletion.outcome] += 1
            assert os.fstat(precious).st_nlink == 1, outcomes
            if deletion.outcome is Outcome.DELETED:
                record = None
    os.close(precious)
    # Both outcomes happened, so it was a race. The scheduler decides how often each happens.
    assert outcomes[Outcome.REPLACED] > 0, outcomes
    if roots.system.can.statx:  # otherwise the identity is weak, and a rename alone changes it
        assert outcomes[Outcome.DELETED] > 0, outcomes


def _fresh(data: Path, roots: Roots, target: Path, names: tuple[Path, Path]) -> FileRecord:
    """Creates a temporary file with the free one of *names*, and returns its record with the path *target*."""
    fresh = data / "fresh"
    fresh.write_text("temporary")
    record = replace(registered(roots, fresh), path=str(target))
    for turn in range(100_000):
        try:
            System().rename_noreplace(-100, str(fresh), -100, str(names[turn % 2]), directory=False)
            return record
        except FileExistsError:
            continue
    raise AssertionError("both names stay taken")


def test_a_symlink_instead_of_a_parent_is_never_followed(data: Path, roots: Roots, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    names = [f"f{n}" for n in range(ROUNDS // 3)]
    for name in names:
        (outside / name).write_text("precious")
    parent, aside = data / "parent", data / "aside"
    parent.mkdir()
    turns = count()

    def swap() -> None:
        if next(turns) % 2:
            os.rename(aside, parent)
        else:
            os.rename(parent, aside)
            os.symlink(outside, parent)
            os.unlink(parent)

    deleted = 0
    with attacker(swap):
        for name in names:
            for at in (parent, aside):
                try:
                    fd = os.open(at, os.O_DIRECTORY | os.O_NOFOLLOW)
                    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
                    os.close(fd)
                except OSError:
                    continue
            try:
                record = registered(roots, data / "parent" / name)
            except (OSError, ValueError):
                continue
            deleted += delete(roots, record)[0].outcome is Outcome.DELETED
    assert sorted(os.listdir(outside)) == sorted(names)


def test_a_stale_record_never_deletes_a_new_file_with_the_old_inode(data: Path, roots: Roots) -> None:
    path = data / "name"
    for _ in range(ROUNDS):
        path.write_text("first")
        stale = registered(roots, path)
        path.unlink()
        path.write_text("second")
        younger = registered(roots, path)
        if stale.identity == younger.identity:
            assert not roots.base.handles  # a birth time alone cannot tell two files of one clock tick
            path.unlink()
            continue
        assert delete(roots, stale)[0].outcome is Outcome.REPLACED
        assert path.read_text() == "second"
        path.unlink()


def _swap(kind: str, path: Path) -> None:
    """Replaces a registered file by another one of this kind."""
    precious = path.with_name("precious")
    if kind == "renamed over":
        precious.write_text("precious")
        precious.rename(path)
        return
    path.unlink()
    if kind == "recreated":
        path.write_text("precious")
    elif kind == "symlink":
        path.symlink_to("kept")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "hard link":
        path.hardlink_to(path.with_name("kept"))
    else:
        path.mkdir()
        (path / "precious").touch()


@pytest.mark.parametrize("kind", ["recreated", "renamed over", "symlink", "fifo", "directory", "hard link"])
def test_a_file_swapped_in_before_the_move_is_put_back(data: Path, roots: Roots, kind: str) -> None:
    path = data / "name"
    path.write_text("temporary")
    (data / "kept").write_text("kept")
    record = registered(roots, path)
    swapped: list[tuple[int, int]] = []

    def at(point: str) -> None:
        if point == "guarded.found":
            _swap(kind, path)
            swapped.append((os.lstat(path).st_ino, os.lstat(path).st_mode))

    faults.install(at)
    try:
        assert delete(roots, record)[0].outcome is Outcome.REPLACED
    finally:
        faults.install(None)
    assert (os.lstat(path).st_ino, os.lstat(path).st_mode) == swapped[0]
    assert (data / "kept").read_text() == "kept"


def test_putting_a_file_back_never_overwrites_another_file(data: Path, roots: Roots) -> None:
    path = data / ("\u00e9" * 127)  # the longest possible name
    path.write_text("temporary")
    record = registered(roots, path)

    def at(point: str) -> None:
        if point == "guarded.found":
            path.unlink()
            path.write_text("first stranger")
        if point == "guarded.moved":
            path.write_text("second stranger")
            second.append(path)

    second: list[Path] = []

    faults.install(at)
    try:
        assert delete(roots, record)[0].outcome is Outcome.REPLACED
    finally:
        faults.install(None)
    texts = sorted(at.read_text() for at in data.iterdir() if at.is_file())
    assert texts == ["first stranger", "second stranger"][: 1 + len(second)]
    assert path.read_text() == ("second stranger" if second else "first stranger")
    assert second or not roots.system.can.statx  # a weak identity is compared once more before the move


def test_a_tree_swapped_in_before_the_move_is_put_back_whole(data: Path, roots: Roots) -> None:
    tree, other = data / "tree", data / "other"
    for at in (tree, other):
        (at / "sub").mkdir(parents=True)
        (at / "sub" / "f").write_text(at.name)
    record = registered(roots, tree, directory=True)

    def swap(point: str) -> None:
        if point == "guarded.found":
            tree.rename(data / "gone")
            other.rename(tree)

    faults.install(swap)
    try:
        assert delete(roots, record)[0].outcome is Outcome.REPLACED
    finally:
        faults.install(None)
    assert (tree / "sub" / "f").read_text() == "other"
    assert (data / "gone" / "sub" / "f").read_text() == "tree"


def test_a_subdirectory_swapped_for_a_symlink_is_not_followed(
    data: Path, roots: Roots, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    tree = data / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "f").touch()
    (tree / "z").touch()
    record: FileRecord = registered(roots, tree, directory=True)
    held = os.open(tree, os.O_RDONLY)  # a process that has the directory open can still rename in it

    def swap(point: str) -> None:
        if point == "guarded.compared":
            os.rename("a", "hidden", src_dir_fd=held, dst_dir_fd=held)
            os.symlink(outside, "a", dir_fd=held)

    faults.install(swap)
    try:
        assert delete(roots, record)[0].outcome is Outcome.DELETED
    finally:
        faults.install(None)
        os.close(held)
    assert (outside / "precious").exists()


@needs_linux
def test_a_fifo_instead_of_a_file_does_not_block_a_reader(data: Path, roots: Roots) -> None:
    path, fifo = data / "file", data / "fifo"
    path.write_text("content")
    os.mkfifo(fifo)
    results = set()
    with attacker(lambda: exchange(path, fifo)):
        for _ in range(ROUNDS):
            try:
                with open_content(str(path), roots) as file:
                    results.add(file.read())
            except UnsafePath as exc:
                results.add(exc.reason)
    assert results == {b"content", "fifo"}


def test_a_journal_removed_by_recovery_does_not_count_as_whole(roots: Roots) -> None:
    """A recovery scan may find a journal before it is locked. A journal that it removed must not count as whole."""
    private = roots.base.private.open()
    lost = 0
    with attacker(lambda: [recover(roots) for _ in range(50)] and None):
        for token in range(4000):
            note = Journal(private, token, NOBODY, [FileRecord("/a/path", 0, 0)])
            lost += note.is_whole and not (Path(roots.base.private.path) / note.name).exists()
            note.close(keep=False)
    assert lost == 0


@needs_linux
def test_a_journal_that_cannot_be_removed_stops_no_deletion(data: Path, roots: Roots) -> None:
    records = []
    for name in "ab":
        (data / name).write_text(name)
        records.append(registered(roots, data / name))
    steps = Deleter(roots, roots.settings).delete(records, token=7, may_go_on=lambda: True)
    roots.base.private.open()
    outcomes = [next(steps).outcome]
    open_before = psutil.Process().num_fds()
    (private,) = {root.private.path for root in roots if root.private.name and root.path == str(data)}
    (note,) = Path(private).glob("note.*")
    note.unlink()
    note.mkdir()  # any other error of the disk: it has become read-only
    assert [*outcomes, *(deletion.outcome for deletion in steps)] == [Outcome.DELETED] * 2
    assert psutil.Process().num_fds() < open_before
    log = Path(roots.base.private.path, "audit.log")
    assert len(log.read_text().splitlines()) == 2


def test_a_recovery_scan_works_during_a_purge(roots: Roots) -> None:
    """The companion of a file exists alone for an instant: before the file arrives, and after it is purged."""
    private = roots.base.private.open()
    names = [f"{'0' * 32}.{n:x}.1.{FROM}" for n in range(8)]

    def come_and_go() -> None:
        for name in names:
            os.close(os.open(name, os.O_CREAT, dir_fd=private))
        for name in names:
            os.unlink(name, dir_fd=private)

    with attacker(come_and_go):
        for _ in range(ROUNDS):
            assert recover(roots) == []
