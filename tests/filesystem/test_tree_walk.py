"""The bounded walk through a tree: its bounds, its errors, and that it gives every descriptor back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deletion_support import needs_linux
from tempfleet.filesystem.syscalls import Capabilities, System
from tempfleet.filesystem.tree_walk import OPEN_DIRECTORY, TooLarge, entries


@pytest.fixture(params=["native", "portable"])
def system(request: pytest.FixtureRequest) -> System:
    return System(Capabilities.probe() if request.param == "native" else Capabilities())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three files, four directories, and a symlink that leads out."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b" / "c").mkdir(parents=True)
    (tree / "empty").mkdir()
    for path in (tree / "1", tree / "a" / "2", tree / "a" / "b" / "3"):
        path.touch()
    (tree / "link").symlink_to(tmp_path / "outside")
    return tree


@pytest.fixture
def top(tree: Path) -> Iterator[int]:
    fd = os.open(tree, OPEN_DIRECTORY)
    yield fd
    os.close(fd)


def names(walk: Iterator[tuple[int, os.DirEntry[str]]]) -> list[str]:
    return sorted(entry.name for _, entry in walk)


def test_it_finds_every_entry_once_and_follows_no_link(top: int, system: System) -> None:
    assert names(entries(top, system)) == ["1", "2", "3", "a", "b", "c", "empty", "link"]


def test_each_entry_comes_with_its_own_directory(top: int, system: System) -> None:
    for directory, entry in entries(top, system):
        assert os.stat(entry.name, dir_fd=directory, follow_symlinks=False).st_ino == entry.inode()


@pytest.mark.parametrize(("most", "complete"), [(8, True), (7, False), (0, False)])
def test_it_ends_at_the_first_entry_too_many(top: int, system: System, most: int, complete: bool) -> None:
    walk, count = entries(top, system, most_entries=most), 0
    try:
        for _ in walk:
            count += 1
        assert complete
    except TooLarge:
        assert not complete
    assert count == most


def test_what_lies_too_deep_is_reported_after_everything_else(top: int, system: System) -> None:
    assert len(names(entries(top, system, most_levels=3))) == 8
    entry_names = []
    with pytest.raises(TooLarge):
        for _, entry in entries(top, system, most_levels=1):
            entry_names.append(entry.name)
    assert sorted(entry_names) == ["1", "2", "a", "b", "empty", "link"]


def test_a_directory_that_cannot_be_opened_is_reported_or_raised(
    top: int, tree: Path, system: System
) -> None:
    def walk(errors: list[OSError] | None) -> list[str]:
        entry_names = []
        for _, entry in entries(top, system, **({} if errors is None else {"on_error": errors.append})):
            entry_names.append(entry.name)
            if entry.name == "a":
                os.rename("a", "elsewhere", src_dir_fd=top, dst_dir_fd=top)
        return entry_names

    errors: list[OSError] = []
    assert {"1", "a", "link"} <= set(walk(errors))
    assert [type(error) for error in errors] == [FileNotFoundError]
    (tree / "elsewhere").rename(tree / "a")
    with pytest.raises(FileNotFoundError):
        walk(None)


@needs_linux
@pytest.mark.parametrize("ends_by", ["the end", "too many", "the caller", "an error of the caller"])
def test_no_descriptor_stays_open(top: int, system: System, ends_by: str) -> None:
    before = psutil.Process().num_fds()
    try:
        for _, entry in entries(top, system, most_entries=6 if ends_by == "too many" else 100):
            if entry.name == "3" and ends_by == "the caller":
                break
            if entry.name == "3" and ends_by == "an error of the caller":
                raise KeyboardInterrupt
    except (TooLarge, KeyboardInterrupt):
        pass
    assert psutil.Process().num_fds() == before
