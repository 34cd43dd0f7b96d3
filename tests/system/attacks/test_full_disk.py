"""
A full disk, or one without a free inode, is cleaned. What deletes must not need space, also where the private directory
could not be created before the disk was full, or strangers have taken its names.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MakeManager
from deletion_support import mounted, needs_linux, needs_root
from support import assert_balanced, open_files
from tempfleet import State, TempFileManager
from tempfleet.deletion import failpoints as faults
from tempfleet.testing import FakeClock

pytestmark = [needs_root, needs_linux, pytest.mark.parametrize("redis_client", ["fake"], indirect=True)]

DISKS = ("tmpfs-space", "tmpfs-inodes", "ext4-space", "ext4-inodes")
FILES = 6


@pytest.fixture(params=DISKS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small file system of which root may use the last block."""
    at = tmp_path / "disk"
    if request.param.startswith("tmpfs"):
        limit = "size=256k" if request.param == "tmpfs-space" else "nr_inodes=40"
        with mounted(["-t", "tmpfs", "-o", limit, "tmpfs"], at):
            yield at
        return
    image = tmp_path / "image"
    with image.open("wb") as blank:
        blank.truncate(1 << 20)
    inodes = "64" if request.param == "ext4-inodes" else "256"
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-N", inodes, image], check=True, stderr=subprocess.DEVNULL)
    with mounted(["-o", "loop", str(image)], at):
        yield at


def fill(disk: Path) -> None:
    """Use up every inode, or every block."""
    os.mkdir(disk / "filling")
    content = b"" if os.statvfs(disk).f_files < 100 else b"x" * 1024
    try:
        for n in range(2000):
            (disk / "filling" / str(n)).write_bytes(content)
    except OSError:
        pass
    status = os.statvfs(disk)
    assert 0 in (status.f_bavail, status.f_favail)


def files_in(directory: Path) -> list[Path]:
    directory.mkdir(exist_ok=True)
    paths = [directory / f"file{n}" for n in range(FILES)]
    for path in paths:
        path.write_text("text")
    return paths


def names_left(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {"lost+found", "filling", "base"}


@pytest.mark.parametrize("grace", [0, 600], ids=["deleted", "quarantined"])
@pytest.mark.parametrize("is_base", [False, True], ids=["other-root", "base"])
def test_a_disk_that_was_full_before_it_had_a_private_directory_is_cleaned(
    make_manager: MakeManager, clock: FakeClock, disk: Path, base_dir: Path, is_base: bool, grace: int
) -> None:
    base = disk / "base" if is_base else base_dir
    base.mkdir(mode=0o700)
    paths = files_in(base / "sub" if is_base else disk)
    fill(disk)
    manager = make_manager(base, allowed_roots=(str(disk),), quarantine_seconds=grace)
    for path in paths:
        manager.register(path, ttl=5)
    clock.advance(6)
    manager.cleanup()
    assert [path for path in paths if path.exists()] == []
    stats = manager.stats()
    assert (stats.dead, stats.retrying, stats.due, stats.leased) == (0, 0, 0, 0)
    assert_balanced(manager)


def test_registering_makes_the_private_directory_that_a_directory_and_secure_deletion_need(
    make_manager: MakeManager, clock: FakeClock, disk: Path, base_dir: Path
) -> None:
    manager = make_manager(allowed_roots=(str(disk),), secure_delete=True)
    tree = disk / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_text("text")
    manager.register(tree, ttl=5, directory=True)
    for path in files_in(disk):
        manager.register(path, ttl=5)
    fill(disk)
    clock.advance(6)
    assert manager.cleanup() == FILES + 1
    assert names_left(disk) == {".tempfleet-0"}
    assert_balanced(manager)


@pytest.mark.parametrize("fails_at", ["guarded.moved", "guarded.compared"])
def test_a_crash_without_a_private_directory_loses_no_file(
    make_manager: MakeManager, clock: FakeClock, disk: Path, fails_at: str
) -> None:
    (path, *_) = files_in(disk)
    fill(disk)
    manager = make_manager(allowed_roots=(str(disk),))
    manager.register(path, ttl=5)
    clock.advance(6)
    process = os.fork()
    if process == 0:
        faults.install(lambda point: point == fails_at and os.kill(os.getpid(), signal.SIGKILL))
        manager.cleanup()
        os._exit(1)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
    assert not path.exists()
    clock.advance(3600)
    manager.cleanup()
    assert not any(name.startswith(".") and name.endswith(".tempfleet") for name in os.listdir(disk))
    assert not path.exists() and manager.get_record(path) is None
    assert manager.stats().total("deleted") == 1
    assert_balanced(manager)


def take_names(root: Path) -> None:
    for name in (".tempfleet-0", *(f".tempfleet-0.{n}" for n in range(1, 10))):
        (root / name).mkdir()
        os.chown(root / name, 1234, 1234)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory like /tmp, in which a stranger has taken the names of the private directory."""
    root = tmp_path / "shared"
    root.mkdir()
    root.chmod(0o1777)
    take_names(root)
    return root


def test_where_strangers_have_taken_the_names_files_go_and_nothing_is_kept_open(
    make_manager: MakeManager, clock: FakeClock, shared: Path
) -> None:
    manager = make_manager(allowed_roots=(str(shared),))
    for turn in range(3):
        paths = files_in(shared)
        for path in paths:
            manager.register(path, ttl=5)
        clock.advance(6)
        assert manager.cleanup() == FILES, turn
        assert not any(path.exists() for path in paths)
        assert open_files().count(str(shared)) == 1
        assert [name for name in open_files() if "file" in name] == []
    assert_balanced(manager)


def test_a_file_that_others_could_exchange_waits_and_health_says_why(
    make_manager: MakeManager, clock: FakeClock, shared: Path
) -> None:
    manager = make_manager(allowed_roots=(str(shared),))
    paths = files_in(shared / "open")
    (shared / "open").chmod(0o777)
    for path in paths:
        manager.register(path, ttl=5)
    clock.advance(6)
    for _ in range(30):
        clock.advance(7200)
        manager.cleanup()
    assert all(path.exists() for path in paths)
    record = manager.get_record(paths[0])
    assert record is not None and record.state is State.WAITING
    assert (record.attempts, record.last_error) == (0, "no-private-directory")
    _is_not_healthy(manager)


def _is_not_healthy(manager: TempFileManager) -> None:
    report = manager.health_check()
    assert report["status"] == "degraded"
    assert any("no-private-directory" in warning for warning in report["warnings"])


def test_a_file_that_was_exchanged_meanwhile_has_its_name_back(
    make_manager: MakeManager, clock: FakeClock, shared: Path
) -> None:
    manager = make_manager(allowed_roots=(str(shared),))
    (path, *_) = files_in(shared)
    manager.register(path, ttl=5)
    clock.advance(6)

    def exchange(point: str) -> None:
        if point == "guarded.found":
            path.unlink()
            path.write_text("precious")

    faults.install(exchange)
    try:
        manager.cleanup()
    finally:
        faults.install(None)
    assert path.read_text() == "precious"
    assert manager.stats().total("replaced") == 1
