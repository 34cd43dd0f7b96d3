"""An identity matches the file that it was made of, and no other file that the system can tell apart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deletion_support import needs_linux
from tempfleet.filesystem import Identity, Reader, Stat

pytestmark = needs_linux


def identity_of(path: Path, reader: Reader, *, handles: bool = False) -> tuple[Identity, Stat]:
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        status = reader.stat(fd, path.name)
        return Identity.of(reader, fd, path.name, status, handles=handles), status
    finally:
        os.close(fd)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("1")
    second.write_text("2")
    return first, second


@pytest.mark.parametrize("statx", [True, False], ids=["birth times", "weak"])
def test_an_identity_matches_its_file_and_no_other(files: tuple[Path, Path], statx: bool) -> None:
    reader = Reader(statx=statx, handles=False)
    (first, status), (second, other) = (identity_of(path, reader) for path in files)
    assert first.is_valid and first.is_weak is not statx
    assert first.matches(status) and first.can_decide(status, handles=False)
    assert not first.matches(other) and not second.matches(status)
    assert first.alternatives == [first] and first.handles == []


def test_only_a_weak_identity_changes_with_a_write(files: tuple[Path, Path]) -> None:
    path, _ = files
    strong, weak = Reader(statx=True, handles=False), Reader(statx=False, handles=False)
    birth, change = identity_of(path, strong)[0], identity_of(path, weak)[0]
    path.write_text("longer than before")
    assert birth.matches(identity_of(path, strong)[1])
    status = identity_of(path, weak)[1]
    assert not change.matches(status)


def test_during_an_exchange_an_identity_matches_either_object(files: tuple[Path, Path]) -> None:
    reader = Reader(statx=True, handles=False)
    (first, status), (second, other) = (identity_of(path, reader) for path in files)
    both = Identity(f"{first}+{second}")
    assert both.alternatives == [first, second]
    assert both.matches(status) and both.matches(other)


def test_the_file_handles_of_an_identity_are_those_of_its_objects() -> None:
    assert Identity("g1.2.aa").handles == ["aa"]
    assert Identity("g1.2.aa+h3.bb").handles == ["aa", "bb"]
    assert Identity("b1.2").handles == []


def test_an_identity_with_a_birth_time_cannot_be_told_without_birth_times(files: tuple[Path, Path]) -> None:
    birth, _ = identity_of(files[0], Reader(statx=True, handles=False))
    status = identity_of(files[0], Reader(statx=False, handles=False))[1]
    assert birth.matches(status) and not birth.can_decide(status, handles=False)
    assert Identity(f"g{birth[1:]}.aa").can_decide(status, handles=True)


@pytest.mark.parametrize("text", ["-", "", "?", "x1.2"])
def test_other_text_is_not_an_identity_and_matches_no_file(files: tuple[Path, Path], text: str) -> None:
    _, status = identity_of(files[0], Reader(statx=True, handles=False))
    assert not Identity(text).is_valid and not Identity(text).matches(status)
