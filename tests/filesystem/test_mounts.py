"""Mounts below a directory, and the other paths of a directory through other mounts."""

from __future__ import annotations

from pathlib import Path

from deletion_support import mounted, needs_linux, needs_root
from tempfleet.filesystem import mounts, read_mounts

pytestmark = [needs_linux, needs_root]


def has_mount(path: str) -> bool:
    return mounts.has_mount(path, read_mounts())


def other_names(path: str) -> list[tuple[str, str]]:
    return mounts.other_names(path, read_mounts())


def test_a_mount_on_a_directory_or_below_it_is_found(tmp_path: Path) -> None:
    directory, beside = tmp_path / "with blank", tmp_path / "with"
    directory.mkdir()
    beside.mkdir()
    with mounted(["-t", "tmpfs", "tmpfs"], directory / "mounted"):
        assert has_mount(str(directory))
        assert has_mount(str(directory / "mounted"))
        assert not has_mount(str(beside))
    assert not has_mount(str(directory))


def test_a_directory_has_another_name_through_a_mount_of_its_parent(tmp_path: Path) -> None:
    (tmp_path / "parent" / "directory").mkdir(parents=True)
    directory = str(tmp_path / "parent" / "directory")
    assert other_names(directory) == []
    with mounted(["--bind", str(tmp_path / "parent")], tmp_path / "other \t name"):
        assert other_names(directory) == [("", str(tmp_path / "other \t name" / "directory"))]
        assert other_names(str(tmp_path / "other \t name" / "directory")) == [("", directory)]
        assert other_names(str(tmp_path / "parents")) == []


def test_a_part_of_a_directory_has_another_name_through_a_mount_of_it(tmp_path: Path) -> None:
    (tmp_path / "directory" / "sub" / "deep").mkdir(parents=True)
    with mounted(["--bind", str(tmp_path / "directory" / "sub" / "deep")], tmp_path / "other"):
        assert other_names(str(tmp_path / "directory")) == [("/sub/deep", str(tmp_path / "other"))]
