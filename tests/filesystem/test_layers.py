"""Overlays, Btrfs subvolumes and long paths: what is registered can be deleted, and what cannot is refused at once."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import MakeManager
from deletion_support import mounted, needs_linux, needs_root
from tempfleet import UnsafePath, VolumeUnavailable
from tempfleet.testing import FakeClock

WAYS: dict[str, dict[str, object]] = {
    "plain": {},
    "quarantine": {"quarantine_seconds": 60},
    "secure": {"secure_delete": True},
}
every_way = pytest.mark.parametrize("way", WAYS)


class Image:
    """An image with a base directory in it, and containers of it."""

    def __init__(self, top: Path) -> None:
        self.top, self.lower, self.at = top, top / "image", top / "container"
        (self.lower / "base").mkdir(parents=True, mode=0o700), self.at.mkdir()

    @contextmanager
    def container(self, name: str = "first") -> Iterator[Path]:
        upper, work = self.top / f"{name}-upper", self.top / f"{name}-work"
        upper.mkdir(exist_ok=True), work.mkdir(exist_ok=True)
        options = f"lowerdir={self.lower},upperdir={upper},workdir={work}"
        with mounted(["-t", "overlay", "-o", options, "overlay"], self.at):
            yield self.at


@pytest.fixture(params=["one file system", "two file systems"])
def image(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Image]:
    """If the image is on another file system, inode numbers may change with the first write, and with a remount."""
    if request.param == "one file system":
        yield Image(tmp_path)
        return
    (tmp_path / "image").mkdir()
    with mounted(["-t", "tmpfs", "none"], tmp_path / "image"):
        yield Image(tmp_path)


@needs_root
@needs_linux
def test_a_base_directory_of_an_image_is_the_same_disk_after_its_first_file(
    make_manager: MakeManager, clock: FakeClock, image: Image
) -> None:
    with image.container() as at:
        manager = make_manager(at / "base")
        (at / "base" / "a").touch()
        manager.register(at / "base" / "a", ttl=5)
        (at / "base" / "b").touch()
        again = make_manager(at / "base")
        again.register(at / "base" / "b", ttl=5)
        clock.advance(6)
        assert (again.cleanup(), manager.cleanup()) == (2, 0)
        (at / "base" / "c").touch()
        manager.register(at / "base" / "c", ttl=5)
        manager.close(), again.close()
    with image.container() as at:
        (at / "other").mkdir()
        clock.advance(6)
        restarted = make_manager(at / "base")
        assert restarted.cleanup() == 1
        restarted.close()


@needs_root
@needs_linux
def test_another_container_of_the_image_is_another_disk(make_manager: MakeManager, image: Image) -> None:
    with image.container() as at:
        manager = make_manager(at / "base")
        (at / "base" / "a").touch()
        manager.register(at / "base" / "a", ttl=5)
        manager.close()
    with image.container("second") as at:
        other = make_manager(at / "base")
        with pytest.raises(VolumeUnavailable):
            other.cleanup()
        other.close()


@needs_root
@needs_linux
@every_way
def test_a_file_of_an_image_is_deleted_and_a_directory_of_one_is_refused_at_once(
    make_manager: MakeManager, clock: FakeClock, image: Image, way: str
) -> None:
    file, directory = image.lower / "data" / "file", image.lower / "data" / "directory"
    directory.mkdir(parents=True), file.write_text("x"), (directory / "inside").touch()
    file.chmod(0o600)
    with image.container() as at:
        base = at / "base"
        manager = make_manager(base, allowed_roots=f"{base}:{at / 'data'}", **WAYS[way])
        manager.register(at / "data" / "file", ttl=5)
        with pytest.raises(UnsafePath, match="register the files in it") as caught:
            manager.register(at / "data" / "directory", ttl=5, directory=True)
        assert caught.value.reason == "image-layer"
        assert (at / "data" / "directory" / "inside").exists()
        (at / "data" / "new").mkdir()
        manager.register(at / "data" / "new", ttl=5, directory=True)
        clock.advance(6)
        manager.cleanup()
        assert sorted(os.listdir(at / "data")) == sorted({"directory", *private(at / "data")})
        clock.advance(61)
        manager.cleanup()
        assert manager.stats().records == 0
        manager.close()


def private(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith(".tempfleet")]


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    if shutil.which("mkfs.btrfs") is None or "btrfs" not in Path("/proc/filesystems").read_text():
        pytest.skip("there is no Btrfs")
    image = tmp_path / "btrfs.image"
    with image.open("wb") as blank:
        blank.truncate(120 << 20)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, stderr=subprocess.DEVNULL)
    with mounted(["-o", "loop", str(image)], tmp_path / "btrfs"):
        yield tmp_path / "btrfs"


@needs_root
@needs_linux
@every_way
def test_a_file_in_a_subvolume_is_refused_at_once_unless_that_is_a_root(
    make_manager: MakeManager, clock: FakeClock, btrfs: Path, way: str
) -> None:
    subvolume = btrfs / "subvolume"
    subprocess.run(["btrfs", "-q", "subvolume", "create", subvolume], check=True)
    (subvolume / "file").write_text("x"), (subvolume / "directory").mkdir()
    manager = make_manager(btrfs / "base", allowed_roots=f"{btrfs / 'base'}:{btrfs}", **WAYS[way])
    for name in ("file", "directory"):
        with pytest.raises(UnsafePath, match="TEMP_FILE_ALLOWED_ROOTS") as caught:
            manager.register(subvolume / name, ttl=5, directory=name == "directory")
        assert caught.value.reason == "subvolume"
    assert manager.stats().records == 0
    manager.close()
    roots = f"{btrfs / 'base'}:{btrfs}:{subvolume}"
    manager = make_manager(btrfs / "base", allowed_roots=roots, **WAYS[way])
    for name in ("file", "directory"):
        manager.register(subvolume / name, ttl=5, directory=name == "directory")
    clock.advance(6)
    manager.cleanup()
    assert os.listdir(subvolume) == private(subvolume)
    manager.close()


def deep(top: Path, length: int) -> str:
    """Creates a file with a path of *length* bytes, which is longer than most calls take."""
    path, fd = str(top), os.open(top, os.O_RDONLY)
    while length - len(path) > 210:
        name = "d" * 200
        os.mkdir(name, dir_fd=fd) if name not in os.listdir(fd) else None
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        path, fd = f"{path}/{name}", inner
    name = "f" * (length - len(path) - 1)
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fd))
    os.close(fd)
    return f"{path}/{name}"


@every_way
@pytest.mark.parametrize(("length", "fits"), [(4095, True), (4096, False), (4300, False)])
def test_a_path_is_deleted_or_refused_at_once_however_long_it_is(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, way: str, length: int, fits: bool
) -> None:
    manager = make_manager(**WAYS[way])
    path = deep(base_dir.resolve(), length)
    if not fits:
        with pytest.raises(UnsafePath, match="4095 bytes") as caught:
            manager.register(path, ttl=5)
        assert caught.value.reason == "ENAMETOOLONG"
    else:
        manager.register(path, ttl=5)
        clock.advance(6)
        manager.cleanup()
        assert not os.path.lexists(path)
        clock.advance(61)
        manager.cleanup()
    assert manager.stats().records == 0


@every_way
@pytest.mark.parametrize("directory", [False, True])
def test_the_longest_name_is_deleted(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, way: str, directory: bool
) -> None:
    manager, path = make_manager(**WAYS[way]), base_dir / ("n" * 255)
    path.mkdir() if directory else path.write_text("x")
    manager.register(path, ttl=5, directory=directory)
    clock.advance(6)
    manager.cleanup()
    assert not path.exists()
    clock.advance(61)
    manager.cleanup()
    assert manager.stats().records == 0


@needs_root
@needs_linux
def test_a_directory_with_a_mount_in_it_is_refused_at_once(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    manager, directory = make_manager(), base_dir / "directory"
    (directory / "deep" / "mounted").mkdir(parents=True)
    with mounted(["-t", "tmpfs", "none"], directory / "deep" / "mounted"):
        with pytest.raises(UnsafePath, match="something is mounted in it") as caught:
            manager.register(directory, ttl=5, directory=True)
        assert caught.value.reason == "mount"
    manager.register(directory, ttl=5, directory=True)
    clock.advance(6)
    assert (manager.cleanup(), directory.exists()) == (1, False)


@pytest.mark.parametrize("name", ["create", "create_dir"])
def test_a_path_that_would_be_too_long_is_refused_before_anything_is_created(
    make_manager: MakeManager, base_dir: Path, name: str
) -> None:
    base = base_dir
    while len(str(base)) < 3800:
        base /= "d" * 200
    base /= "b" * (4060 - len(str(base)))
    manager = make_manager(base)
    with pytest.raises(UnsafePath, match="4095 bytes") as caught:
        getattr(manager, name)()
    assert caught.value.reason == "ENAMETOOLONG"
    assert manager.stats().records == 0 and os.listdir(base) == private(base)


def test_a_name_that_is_too_long_is_refused_at_its_registration(
    make_manager: MakeManager, base_dir: Path
) -> None:
    with pytest.raises(UnsafePath, match="255"):
        make_manager().register(base_dir / ("ü" * 128))
