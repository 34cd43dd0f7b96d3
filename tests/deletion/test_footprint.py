"""The footprint of a file: the blocks and inodes that deleting it frees, and when it was last used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deletion_support import registered, settings_for
from tempfleet.deletion.deleter import Deleter
from tempfleet.deletion.footprint import Footprint
from tempfleet.filesystem.roots import Roots


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "data"


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[Roots]:
    with Roots.open(settings_for(tmp_path)) as opened:
        yield opened


def footprint(roots: Roots, path: Path, *, directory: bool = False) -> Footprint:
    (result,) = Deleter(roots, roots.settings).footprints([registered(roots, path, directory=directory)])
    assert result is not None
    return result


def blocks(*paths: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in paths)


def test_the_footprint_of_a_file_is_its_blocks_without_holes(data: Path, roots: Roots) -> None:
    file = data / "f"
    with file.open("wb") as opened:
        opened.write(b"x" * 10_000)
        opened.truncate(100 << 20)
        os.fsync(opened.fileno())
    result = footprint(roots, file)
    assert (result.size_bytes, result.files) == (blocks(file), 1)
    assert 0 < result.size_bytes < 1 << 20


def test_a_file_with_another_link_has_an_empty_footprint(data: Path, roots: Roots) -> None:
    (data / "f").write_bytes(b"x" * 10_000)
    (data / "other").hardlink_to(data / "f")
    result = footprint(roots, data / "f")
    assert (result.size_bytes, result.files) == (0, 0)


def test_the_last_use_of_a_file_is_its_last_read_or_write(data: Path, roots: Roots) -> None:
    for name, read, written in (("read", 200, 100), ("written", 100, 200)):
        (data / name).touch()
        os.utime(data / name, (read, written))
        assert footprint(roots, data / name).used_ms == 200_000


def test_the_footprint_of_a_directory_includes_its_content_and_follows_no_link(
    data: Path, roots: Roots
) -> None:
    top = data / "tree"
    (top / "sub").mkdir(parents=True)
    inside = [top / "a", top / "sub" / "b"]
    for file in inside:
        file.write_bytes(b"x" * 10_000)
    (data / "outside").write_bytes(b"x" * 1_000_000)
    (top / "link").symlink_to(data / "outside")
    for path in (top, top / "sub", *inside):
        os.utime(path, (100, 100))
    os.utime(inside[1], (100, 300))
    os.utime(top / "link", (100, 100), follow_symlinks=False)
    result = footprint(roots, top, directory=True)
    assert (result.files, result.used_ms) == (5, 300_000)
    assert result.size_bytes == blocks(top, top / "sub", *inside) + (top / "link").lstat().st_blocks * 512


def test_a_missing_file_has_no_footprint(data: Path, roots: Roots) -> None:
    (data / "f").touch()
    record = registered(roots, data / "f")
    (data / "f").unlink()
    assert Deleter(roots, roots.settings).footprints([record]) == [None]
