"""Several registrants of one file: managers, and processes. The later promise wins."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from conftest import MakeManager
from support import assert_balanced, entries, python
from tempfleet import AlreadyClaimed, TempFileManager, TooManyTags
from tempfleet.embedded import EmbeddedServer
from tempfleet.filesystem.syscalls import Capabilities, System
from tempfleet.manager.own_files import OwnFiles
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


# -- the end of a block


Promise = Callable[[TempFileManager, str | os.PathLike[str]], object]

PROMISES: dict[str, Promise] = {
    "registers": lambda manager, path: manager.register(path, ttl=10),
    "registers many": lambda manager, path: manager.register_many([path], ttl=10),
    "sets its age": lambda manager, path: manager.files.__setitem__(os.fspath(path), 0.0),
    "renews": lambda manager, path: manager.renew(path, ttl=10),
    "holds": lambda manager, path: manager.hold(path, 1),
}

every_promise = pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES)


@every_promise
def test_the_end_of_a_managers_block_leaves_what_another_registrant_promised(
    make_manager: MakeManager, path: Path, clock: FakeClock, promise: Promise
) -> None:
    first, second = make_manager(), make_manager()
    with first:
        first.register(path, ttl=100)
        clock.advance(1)
        promise(second, path)
    assert path.exists()
    clock.advance(100)
    second.cleanup()
    assert not path.exists()
    assert_balanced(first)


@every_promise
@pytest.mark.parametrize("directory", [False, True])
def test_the_end_of_a_created_files_block_leaves_what_another_registrant_promised(
    make_manager: MakeManager, clock: FakeClock, promise: Promise, directory: bool
) -> None:
    first, second = make_manager(), make_manager()
    with first.create_dir(ttl=100) if directory else first.create(ttl=100) as created:
        clock.advance(1)
        if directory and promise is not PROMISES["renews"]:
            second.register(created, directory=True)
        else:
            promise(second, created.path)
    assert os.path.exists(created)


@every_promise
@pytest.mark.parametrize("block", ["manager", "created", "both"])
def test_a_managers_own_promises_keep_no_file_at_the_end_of_its_block(
    make_manager: MakeManager, clock: FakeClock, promise: Promise, block: str
) -> None:
    manager = make_manager()
    with manager if block != "created" else nullcontext():
        created = manager.create(ttl=100)
        with created if block != "manager" else nullcontext():
            created.write(b"content")
            clock.advance(1)
            promise(manager, created.path)
            manager.unhold(created.path)
        created.close()
    assert not os.path.exists(created)
    assert len(manager.files) == 0


def test_both_registrants_blocks_leave_a_shared_file_until_its_deadline(
    make_manager: MakeManager, path: Path, clock: FakeClock
) -> None:
    first, second = make_manager(), make_manager()
    with first:
        first.register(path, ttl=50)
        with second:
            clock.advance(1)
            second.register(path, ttl=10)
        assert path.exists()
    assert path.exists()
    clock.advance(48)
    assert first.cleanup() == 0
    clock.advance(1)
    assert first.cleanup() == 1


def test_a_file_that_another_registrant_took_back_belongs_to_its_block_again(
    make_manager: MakeManager, path: Path, clock: FakeClock
) -> None:
    first, second = make_manager(), make_manager()
    second.register(path)
    second.unregister(path)
    with first:
        first.register(path)
    assert not path.exists()


def test_a_registration_before_the_block_is_the_managers_own(
    manager: TempFileManager, path: Path, clock: FakeClock
) -> None:
    manager.register(path)
    clock.advance(1)
    with manager:
        manager.register(path)
    assert not path.exists()


def test_only_the_last_registrations_are_remembered_outside_of_blocks() -> None:
    own = OwnFiles(2)
    for n, name in enumerate(["/a", "/b", "/a", "/c"]):
        own.add(name, n)
    assert [own.registered_ms(name) for name in ("/a", "/b", "/c")] == [2, None, 3]


def test_an_unregistered_file_is_forgotten_by_its_block(make_manager: MakeManager, path: Path) -> None:
    first, second = make_manager(), make_manager()
    with first:
        first.register(path)
        first.unregister(path)
        second.register(path)
    assert path.exists()


def test_a_forked_child_is_another_registrant(real_server: EmbeddedServer, base_dir: Path) -> None:
    manager = TempFileManager(base_dir, host="web-1", redis_url=real_server.unix_url)
    with manager.create() as renewed, manager.create() as untouched:
        child = os.fork()
        if child == 0:
            manager.renew(renewed)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert (os.path.exists(renewed), os.path.exists(untouched)) == (True, False)
    manager.clear_all()
    manager.close()


REGISTRANT = """
import sys
from pathlib import Path
from tempfleet import Settings, TempFileManager
base, url, end = sys.argv[1:]
manager = TempFileManager(settings=Settings.load(
    base_dir=base, redis_url=url, host="web-1", clear_on_shutdown=end != "block"))
if end == "block":
    manager.__enter__()
for name in ("own", "registered", "renewed", "held", "again"):
    path = Path(base, name)
    path.touch()
    manager.register(path, ttl=3600)
created = manager.create(ttl=3600)
manager.renew(Path(base, "own"), ttl=4000)
print(created.path, flush=True)
sys.stdin.readline()
if end == "block":
    manager.__exit__(None, None, None)
"""


@pytest.mark.process
@pytest.mark.parametrize("end", ["block", "exit", "SIGTERM"])
def test_the_end_of_a_process_leaves_what_another_process_promised(
    real_server: EmbeddedServer, base_dir: Path, end: str
) -> None:
    other = TempFileManager(base_dir, host="web-1", redis_url=real_server.unix_url)
    process = python(REGISTRANT, base_dir, real_server.unix_url, end)
    assert process.stdout is not None
    created = process.stdout.readline().strip()
    other.register(base_dir / "registered", ttl=1)
    other.renew(base_dir / "renewed", ttl=1)
    other.hold(base_dir / "held")
    other.unhold(base_dir / "held")
    other.register_many([base_dir / "again", created], ttl=1)
    if end == "SIGTERM":
        process.terminate()
    process.communicate("\n", timeout=30)
    kept = {"registered", "renewed", "held", "again", os.path.basename(created)}
    assert set(entries(base_dir)) == kept
    deadlines = [record.deadline_ms - record.registered_ms for record in other.records()]
    assert len(deadlines) == len(kept) and min(deadlines) > 3500 * 1000
    assert_balanced(other)
    assert other.clear_all() == len(kept)
    other.close()


# -- unregistered, and registered anew


@pytest.mark.parametrize("kind", ["created", "registered"])
@pytest.mark.parametrize("promise", ["register", "renew"])
@pytest.mark.parametrize("by", ["the registrant", "another manager"])
def test_a_block_leaves_a_file_of_others_that_was_unregistered_and_registered_anew_in_it(
    make_manager: MakeManager, clock: FakeClock, path: Path, kind: str, promise: str, by: str
) -> None:
    manager, other = make_manager(), make_manager()
    with manager:
        with manager.create() if kind == "created" else nullcontext(path) as file:
            manager.register(file)
            clock.advance(1)
            getattr(other, promise)(file, ttl=DAY)
            clock.advance(1)
            (manager if by == "the registrant" else other).unregister(file)
            clock.advance(1)
            manager.register(file)
        assert os.path.exists(file)
    assert os.path.exists(file)
    clock.advance(DAY)
    assert other.cleanup() == 1
    assert_balanced(other)


def test_a_block_leaves_a_file_of_others_that_it_unregistered_and_registered_anew(
    make_manager: MakeManager, clock: FakeClock, path: Path
) -> None:
    """Its registrant is another object. Also if a third one registers it anew."""
    make_manager().register(path, ttl=DAY)
    for unregistering, registering in (
        (manager := make_manager(), manager),
        (make_manager(), make_manager()),
    ):
        clock.advance(1)
        with registering:
            unregistering.unregister(path)
            registering.register(path)
        assert path.exists()


def test_a_block_takes_a_file_of_its_own_that_it_unregistered_and_registered_anew(
    make_manager: MakeManager, clock: FakeClock, path: Path
) -> None:
    with (manager := make_manager()):
        manager.register(path)
        clock.advance(1)
        manager.unregister(path)
        manager.register(path)
    assert not path.exists()
