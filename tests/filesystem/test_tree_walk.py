"""The walks through a tree: their bounds, their errors, and that they give every descriptor back."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deletion_support import needs_linux
from tempfleet.filesystem.syscalls import Capabilities, System
from tempfleet.filesystem.tree_walk import MOST_OPEN, OPEN_DIRECTORY, TooLarge, entries, every_entry


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


def test_every_entry_comes_with_its_path_and_no_link_is_followed(top: int, system: System) -> None:
    found = sorted(path for path, _ in every_entry(top, system))
    assert found == ["/1", "/a", "/a/2", "/a/b", "/a/b/3", "/a/b/c", "/empty", "/link"]


def test_a_directory_that_is_moved_during_the_walk_ends_it(top: int, tree: Path, system: System) -> None:
    chain = tree / "/".join(["d"] * (MOST_OPEN + 5))
    (chain / "deepest").mkdir(parents=True)
    with pytest.raises(OSError) as error:
        for path, _ in every_entry(top, system):
            if path.endswith("/deepest"):
                (chain / "deepest").rename(tree / "moved")
    assert error.value.errno in (errno.ESTALE, errno.ENOENT)


def test_every_entry_is_found_at_any_depth(top: int, tree: Path, system: System) -> None:
    chain = "/".join(["d"] * (MOST_OPEN + 10))
    for beside in ("first", "second"):
        (tree / chain / beside / "deepest").mkdir(parents=True)
    found = {path for path, _ in every_entry(top, system)}
    assert {f"/{chain}", f"/{chain}/first/deepest", f"/{chain}/second/deepest"} <= found
    assert len(found) == 8 + MOST_OPEN + 10 + 4


def test_a_directory_that_cannot_be_entered_is_reported_and_the_walk_goes_on(
    top: int, tree: Path, system: System
) -> None:
    errors: list[OSError] = []
    found = []
    for path, entry in every_entry(top, system, on_error=errors.append):
        found.append(path)
        if entry.name == "a":
            (tree / "a").rename(tree.parent / "elsewhere")
    assert {"/1", "/a", "/empty", "/link"} == set(found)
    assert [type(error) for error in errors] == [FileNotFoundError]


@needs_linux
@pytest.mark.parametrize("ends_by", ["the end", "the caller"])
def test_the_walk_through_every_entry_leaves_no_descriptor_open(
    top: int, tree: Path, system: System, ends_by: str
) -> None:
    (tree / "/".join(["d"] * (MOST_OPEN + 10))).mkdir(parents=True)
    before = psutil.Process().num_fds()
    walk = every_entry(top, system)
    for path, _ in walk:
        if ends_by == "the caller" and path.count("/") == MOST_OPEN + 5:
            walk.close()
            break
    assert psutil.Process().num_fds() == before


@needs_linux
def test_memory_does_not_grow_with_the_number_of_directories(top: int, tree: Path) -> None:
    system = System()
    for n in range(5000):
        (tree / f"{n:0100}").mkdir()
    tracemalloc.start()
    try:
        assert sum(1 for _ in every_entry(top, system)) == 5008
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
