"""What earlier claims left in the private directory, while a name changes hands: nothing is lost or left over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from deletion_support import delete, registered, settings_for
from tempfleet.deletion import failpoints
from tempfleet.deletion.deleter import Deleter
from tempfleet.deletion.recovery import recover
from tempfleet.deletion.session import Session
from tempfleet.filesystem.private_directory import ASIDE, FROM, Entry, digest_of
from tempfleet.filesystem.root import Root
from tempfleet.filesystem.roots import Roots
from tempfleet.records import Deletion, Outcome


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[Roots]:
    with Roots.open(settings_for(tmp_path, quarantine_seconds=60)) as opened:
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "data" / "file"


@contextmanager
def at(point: str, work: Callable[[], object]) -> Iterator[None]:
    """Does *work* when *point* is reached."""
    failpoints.install(lambda reached: work() if reached == point else None)
    try:
        yield
    finally:
        failpoints.install(None)


def root_of(roots: Roots, path: Path) -> Root:
    root = roots.find(str(path))
    assert root is not None
    return root


def swap(path: Path) -> None:
    path.unlink()
    path.write_text("precious")


def test_a_deletion_that_loses_the_race_still_finishes_what_an_earlier_claim_left(
    path: Path, roots: Roots
) -> None:
    """The record accepts two objects: one is half deleted, and the other one loses its name to a stranger."""
    path.write_text("first form")
    first = registered(roots, path)
    left = f"{digest_of(first.path)}.6"
    os.rename(path, left, dst_dir_fd=root_of(roots, path).private.open())
    path.write_text("second form")
    record = replace(first, identity=f"{first.identity}+{registered(roots, path).identity}")
    with at("guarded.found", lambda: swap(path)):
        assert [deletion.outcome for deletion in delete(roots, record)] == [Outcome.DELETED]
    assert path.read_text() == "precious"
    assert root_of(roots, path).private.entries() == []


def test_a_file_that_gets_its_name_back_between_the_two_looks_is_deleted(
    path: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("x")
    record = registered(roots, path)
    private = root_of(roots, path).private.open()
    os.rename(path, "on its way", dst_dir_fd=private)
    list_entries = Session.entries_of

    def another_process_is_faster(session: Session, root: Root, of: str) -> list[Entry]:
        if not path.exists():
            os.rename("on its way", path, src_dir_fd=private)
        return list_entries(session, root, of)

    monkeypatch.setattr(Session, "entries_of", another_process_is_faster)
    assert [deletion.outcome for deletion in delete(roots, record)] == [Outcome.DELETED]
    assert not path.exists()


def test_a_quarantine_that_loses_the_race_gives_the_stranger_its_name_back_and_leaves_nothing(
    path: Path, roots: Roots
) -> None:
    path.write_text("x")
    record = registered(roots, path)
    with at("guarded.found", lambda: swap(path)):
        [result] = Deleter(roots, roots.settings).quarantine([record], token=7, may_go_on=lambda: True)
    assert isinstance(result, Deletion) and (result.outcome, result.reason) == (Outcome.REPLACED, "raced")
    assert path.read_text() == "precious"
    assert root_of(roots, path).private.names() == []


def test_recovery_removes_a_companion_only_if_its_file_can_no_longer_come(roots: Roots) -> None:
    """The companion is made just before its file is moved there."""
    private = roots.base.private.open()
    new, lonely, beside = (f"{'0' * 32}.{n}.1.{FROM}" for n in range(3))
    file = beside.removesuffix(FROM) + ASIDE
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY, dir_fd=private))
    for name in (new, lonely, beside):
        os.close(os.open(name, os.O_CREAT, dir_fd=private))
    two_hours_ago = time.time() - 7200
    for name in (lonely, beside):
        os.utime(name, (two_hours_ago, two_hours_ago), dir_fd=private, follow_symlinks=False)
    assert recover(roots) == []
    assert sorted(roots.base.private.names()) == sorted([new, beside, file])
