"""Several registrants of one file: managers, and processes. The later promise wins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conftest import MakeManager
from support import assert_balanced
from tempfleet import AlreadyClaimed, TempFileManager, TooManyTags
from tempfleet.filesystem.syscalls import Capabilities, System
from tempfleet.records import Way
from tempfleet.testing import FakeClock

DAY = 86_400


@pytest.fixture
def path(base_dir: Path) -> Path:
    base_dir.mkdir(exist_ok=True)
    path = base_dir / "file"
    path.write_text("content")
    return path


def seeing(manager: TempFileManager, *, statx: bool, handles: bool) -> TempFileManager:
    """Returns *manager* as in a process with fewer rights, such as in a container with a seccomp filter."""
    manager.roots.system = System(Capabilities(statx=statx, handles=handles))
    return manager


# -- a created file that is registered


@pytest.mark.parametrize("ttl", [10, 30 * DAY], ids=["sooner", "later"])
def test_a_created_file_that_is_registered_lives_until_the_later_deadline(
    make_manager: MakeManager, clock: FakeClock, ttl: float
) -> None:
    creator, other = make_manager(), make_manager()
    created = creator.create(ttl=7 * DAY)
    created.write(b"content")
    created.close()
    other.register(created, ttl=ttl)
    clock.advance(max(7 * DAY, ttl) - 1)
    assert other.cleanup() == 0
    assert os.path.exists(created)
    clock.advance(1)
    assert [(deletion.way, deletion.freed_bytes > 0) for deletion in other.preview()] == [(Way.DIRECT, True)]
    assert other.cleanup() == 1
    assert not os.path.exists(created)
    assert_balanced(other)


def test_a_created_directory_that_is_registered_lives_until_the_later_deadline(
    make_manager: MakeManager, clock: FakeClock
) -> None:
    creator, other = make_manager(), make_manager()
    created = creator.create_dir(ttl=7 * DAY)
    other.register(created, ttl=10, directory=True)
    clock.advance(7 * DAY - 1)
    assert other.cleanup() == 0
    assert os.path.isdir(created)
    clock.advance(1)
    assert other.cleanup() == 1
    assert_balanced(other)


def test_a_created_file_that_is_being_deleted_cannot_be_registered(
    make_manager: MakeManager, clock: FakeClock
) -> None:
    creator, other = make_manager(), make_manager()
    created = creator.create(ttl=10)
    created.close()
    clock.advance(10)
    assert creator.registry.claim(limit=1, lease_ms=60_000).records
    with pytest.raises(AlreadyClaimed):
        other.register(created, ttl=DAY)
    assert other.stats().behind == 0


# -- processes that see more or less of a file


@pytest.mark.parametrize("handles", [False, True], ids=["without handles", "with handles"])
@pytest.mark.parametrize("statx", [False, True], ids=["without statx", "with statx"])
def test_a_process_that_sees_less_of_a_file_does_not_shorten_its_life(
    make_manager: MakeManager, clock: FakeClock, path: Path, statx: bool, handles: bool
) -> None:
    other = seeing(make_manager(), statx=statx, handles=handles)
    for first, second in [(make_manager(), other), (other, make_manager())]:
        first.register(path, ttl=DAY)
        second.register(path, ttl=10)
        clock.advance(DAY - 1)
        assert first.cleanup() == second.cleanup() == 0
        assert path.exists()
        clock.advance(1)
        assert make_manager().cleanup() == 1
        path.write_text("the next file")


def test_a_write_to_a_file_does_not_shorten_its_life_though_its_weak_identity_changes(
    make_manager: MakeManager, clock: FakeClock, path: Path
) -> None:
    first, second = (seeing(make_manager(), statx=False, handles=False) for _ in range(2))
    first.register(path, ttl=DAY)
    path.write_text("longer than before")
    second.register(path, ttl=10)
    clock.advance(DAY - 1)
    assert second.cleanup() == 0
    assert path.exists()
    clock.advance(1)
    assert second.cleanup() == 1
    assert_balanced(second)


def test_a_written_file_that_is_being_deleted_cannot_be_registered(
    make_manager: MakeManager, clock: FakeClock, path: Path
) -> None:
    first, second = (seeing(make_manager(), statx=False, handles=False) for _ in range(2))
    first.register(path, ttl=10)
    clock.advance(10)
    assert first.registry.claim(limit=1, lease_ms=60_000).records
    path.write_text("longer than before")
    with pytest.raises(AlreadyClaimed):
        second.register(path, ttl=DAY)


# -- tags


def test_deleting_by_tag_takes_the_files_of_which_any_registration_had_the_tag(
    make_manager: MakeManager, path: Path
) -> None:
    first, second = make_manager(), make_manager()
    first.register(path, tags=["mine", "both"])
    record = second.register(path, tags=["theirs", "both"])
    assert record.tags == ("mine", "both", "theirs")
    assert first.cleanup_report(force=True, tags=["mine", "theirs"]).deleted == 1
    assert not path.exists()


def test_too_many_tags_are_refused_and_change_nothing(make_manager: MakeManager, path: Path) -> None:
    first, second = make_manager(), make_manager()
    first.register(path, tags=[str(n) for n in range(20)])
    before = first.get_record(path)
    for refused in (
        lambda: second.register(path, tags=[str(n) for n in range(33)]),
        lambda: second.register(path, tags=[str(n) for n in range(20, 33)]),
    ):
        with pytest.raises(TooManyTags):
            refused()
    result = second.register_batch([path], tags=[str(n) for n in range(20, 33)])
    assert result.failed == 1
    assert first.get_record(path) == before
    # a tag that is named twice counts once
    assert len(second.register(path, tags=["0", "0", "last"] * 20).tags) == 21
