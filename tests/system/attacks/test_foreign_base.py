"""Root cleans a base directory that another user owns. That user may exchange any two names in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from deletion_support import delete, exchange, needs_linux, needs_root
from support import assert_balanced
from tempfleet import Outcome, Settings, State, TempFileManager
from tempfleet.filesystem.creation import create_directory, create_file
from tempfleet.filesystem.paths import new_name
from tempfleet.filesystem.roots import Roots
from tempfleet.records import FileRecord
from tempfleet.testing import FakeClock

pytestmark = [needs_root, needs_linux]

NOBODY = 65534

MakeManager = Callable[..., TempFileManager]


@pytest.fixture
def foreign() -> Iterator[Path]:
    """Returns a base directory of NOBODY, which NOBODY can reach."""
    with TemporaryDirectory() as home:
        os.chmod(home, 0o711)
        base = Path(home, "base")
        base.mkdir(mode=0o700)
        os.chown(base, NOBODY, NOBODY)
        yield base


def test_two_directories_of_root_that_were_exchanged_lose_nothing(
    make_manager: MakeManager, foreign: Path, clock: FakeClock
) -> None:
    manager = make_manager(foreign)
    due, held = manager.create_dir(ttl=10), manager.create_dir(ttl=10)
    Path(held.path, "precious").write_text("x")
    manager.hold(held.path)
    exchange(due.path, held.path)
    clock.advance(11)
    assert manager.cleanup() == 0
    assert Path(due.path, "precious").exists()
    exchange(due.path, held.path)
    manager.unhold(held.path)
    manager.cleanup()
    assert_balanced(manager)


def test_two_files_of_root_that_were_exchanged_stay(
    make_manager: MakeManager, foreign: Path, clock: FakeClock
) -> None:
    manager = make_manager(foreign)
    due, held = manager.create(ttl=10), manager.create(ttl=1000)
    for file in (due, held):
        file.write(b"x")
        file.made.close()
    exchange(due.path, held.path)
    clock.advance(11)
    report = manager.cleanup_report()
    assert (report.deleted, report.counts[Outcome.REPLACED]) == (0, 1)
    assert os.path.exists(due.path) and os.path.exists(held.path)


def test_what_root_creates_there_is_deleted_in_time(
    make_manager: MakeManager, foreign: Path, clock: FakeClock
) -> None:
    manager = make_manager(foreign)
    file, directory = manager.create(ttl=10), manager.create_dir(ttl=10)
    Path(directory.path, "inside").write_text("x")
    file.write(b"12345")
    file.close()
    record = manager.get_record(file.path)
    assert record is not None and record.size_bytes == 5
    with manager.create() as short_lived:
        pass
    assert not os.path.exists(short_lived.path)
    clock.advance(11)
    assert manager.cleanup() == 2
    assert os.listdir(foreign) == [".tempfleet-0"]
    assert set(os.listdir(foreign / ".tempfleet-0")) <= {"audit.log", "clock.json"}
    assert_balanced(manager)


def test_files_and_directories_of_its_owner_are_deleted_in_time(
    make_manager: MakeManager, foreign: Path, clock: FakeClock
) -> None:
    manager = make_manager(foreign)
    os.seteuid(NOBODY)
    try:
        theirs = make_manager(foreign)
        file, directory = theirs.create(ttl=10), theirs.create_dir(ttl=10)
        file.made.close()
        Path(directory.path, "inside").write_text("x")
    finally:
        os.seteuid(0)
    clock.advance(11)
    assert manager.cleanup() == 2
    assert not os.path.exists(file.path) and not os.path.exists(directory.path)


@pytest.mark.parametrize("kind", ["c", "cd"])
def test_a_record_of_root_with_a_name_alone_is_refused(foreign: Path, kind: str) -> None:
    name = new_name()
    with Roots.open(Settings(base_dir=str(foreign))) as roots:
        if kind == "c":
            os.close(create_file(roots, name, mode=0o600))
        else:
            create_directory(roots, name, mode=0o700)
        record = FileRecord(f"{foreign}/{name}", 0, 0, flags=kind, uid=0)
        assert [(deletion.outcome, deletion.reason) for deletion in delete(roots, record)] == [
            (Outcome.REFUSED, "not-private")
        ]
    assert (foreign / name).exists()


def test_a_directory_of_its_owner_with_a_name_alone_is_refused(foreign: Path) -> None:
    name = new_name()
    (foreign / name).mkdir()
    os.chown(foreign / name, NOBODY, NOBODY)
    record = FileRecord(f"{foreign}/{name}", 0, 0, flags="cd", uid=NOBODY)
    with Roots.open(Settings(base_dir=str(foreign))) as roots:
        assert [deletion.outcome for deletion in delete(roots, record)] == [Outcome.REFUSED]


def test_a_file_whose_creation_failed_is_left_to_the_clean_up(
    make_manager: MakeManager, foreign: Path, clock: FakeClock
) -> None:
    manager = make_manager(foreign)
    with pytest.raises(LookupError):
        manager.create(mode="w", encoding="no such encoding", ttl=10)
    (record,) = manager.records()
    clock.advance(11)
    manager.cleanup()
    (after,) = manager.records()
    assert (after.path, after.state) == (record.path, State.DEAD)
    assert os.path.exists(record.path)
