"""
Real FUSE file systems: no birth times, no file handles, and inode numbers that may change.

Skipped where FUSE, or the programs of these file systems, are missing. There is no such test for NFS, because few test
machines have an NFS client; NFS 3 and 4.2 were tried by hand.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import MakeManager
from deletion_support import needs_linux, needs_root
from support import python
from tempfleet import TempFileManager
from tempfleet.testing import FakeClock

KINDS: dict[str, Callable[[Path, Path], list[str]]] = {
    "bindfs": lambda source, at: ["bindfs", str(source), str(at)],
    "unionfs": lambda source, at: ["unionfs", "-o", "cow", f"{source}=RW", str(at)],
}

pytestmark = [needs_linux, needs_root]


class Fuse:
    """A mounted FUSE file system."""

    def __init__(self, kind: str, source: Path, at: Path) -> None:
        self.kind, self.source, self.at = kind, source, at
        self.mount()

    def mount(self) -> None:
        subprocess.run(KINDS[self.kind](self.source, self.at), check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", self.at], check=True)


@pytest.fixture(params=KINDS)
def fuse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fuse]:
    if not os.path.exists("/dev/fuse") or shutil.which(request.param) is None:
        pytest.skip(f"there is no FUSE, or no {request.param}")
    source, at = tmp_path / "source", tmp_path / "fuse"
    (source / "base").mkdir(parents=True, mode=0o700), (source / "other").mkdir(), at.mkdir()
    fuse = Fuse(request.param, source, at)
    yield fuse
    fuse.unmount()


@pytest.fixture
def make(make_manager: MakeManager, fuse: Fuse) -> Callable[..., TempFileManager]:
    def make(**values: object) -> TempFileManager:
        roots = f"{fuse.at / 'base'}:{fuse.at / 'other'}"
        return make_manager(fuse.at / "base", **{"TEMP_FILE_ALLOWED_ROOTS": roots} | values)

    return make


@pytest.mark.parametrize("place", ["base", "other"])
def test_a_file_that_was_written_to_goes_and_another_one_stays(
    make: Callable[..., TempFileManager], clock: FakeClock, fuse: Fuse, place: str
) -> None:
    manager, directory = make(), fuse.at / place
    written, replaced = directory / "written", directory / "replaced"
    for path in (written, replaced):
        path.write_text("x")
        assert manager.register(path, ttl=5).identity.startswith("w")
    written.write_text("longer")
    (directory / "new").write_text("other")
    os.replace(directory / "new", replaced)
    clock.advance(6)
    manager.cleanup()
    clock.advance(6)
    manager.cleanup()
    assert not written.exists()
    # In the base directory it is the owner's rewrite, and had a life of its own.
    assert replaced.exists() == (place == "other")
    assert manager.stats().records == 0


def test_a_directory_whose_first_deletion_failed_goes(
    make: Callable[..., TempFileManager], clock: FakeClock, fuse: Fuse
) -> None:
    manager, tree = make(), fuse.at / "other" / "tree"
    (tree / "sub").mkdir(parents=True)
    manager.register(tree, ttl=5, directory=True)
    clock.advance(6)
    process = python("import os, sys; os.chdir(sys.argv[1]); print(flush=True); sys.stdin.read()", tree)
    assert process.stdout is not None and process.stdout.readline()
    assert manager.cleanup() == 0
    process.communicate()
    (tree / "sub" / "new").touch()
    clock.advance(60)
    assert (manager.cleanup(), tree.exists()) == (1, False)


def test_a_file_that_this_host_has_open_is_kept_and_strict_keeps_every_file(
    make: Callable[..., TempFileManager], clock: FakeClock, fuse: Fuse
) -> None:
    manager, path = make(), fuse.at / "base" / "file"
    path.touch()
    manager.register(path, ttl=5)
    clock.advance(6)
    with path.open():
        assert (manager.cleanup(), path.exists()) == (0, True)
    clock.advance(60)
    assert make(TEMP_FILE_IN_USE="strict").cleanup() == 0
    record = manager.get_record(path)
    assert record is not None and record.last_error == "in-use-unknown"
    clock.advance(3600)
    assert manager.cleanup() == 1


def test_of_two_registrants_the_later_deadline_wins_and_a_blocks_end_takes_nothing(
    make: Callable[..., TempFileManager], clock: FakeClock, fuse: Fuse
) -> None:
    first, second, path = make(), make(), fuse.at / "other" / "file"
    path.write_text("x")
    with first:
        first.register(path, ttl=5)
        path.write_text("longer")
        second.register(path, ttl=100)
    clock.advance(6)
    assert (second.cleanup(), path.exists()) == (0, True)
    clock.advance(100)
    assert second.cleanup() == 1


@pytest.mark.parametrize("directory", [False, True])
def test_a_file_that_got_another_inode_number_is_the_same_file(
    make: Callable[..., TempFileManager], clock: FakeClock, fuse: Fuse, directory: bool
) -> None:
    """The numbers of unionfs count up as the kernel looks files up."""
    path = fuse.at / "other" / "file"
    path.mkdir() if directory else path.write_text("x")
    manager = make()
    manager.register(path, ttl=5, directory=directory)
    before = path.stat().st_ino
    manager.close()
    fuse.unmount()
    fuse.mount()
    for n in range(3):
        (fuse.at / str(n)).touch()
    if fuse.kind != "bindfs":
        assert path.stat().st_ino != before
    clock.advance(6)
    again = make()
    assert (again.cleanup(), path.exists(), again.stats().records) == (1, False, 0)
