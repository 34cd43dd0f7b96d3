"""No file goes before its own deadline, or while it is held, because a directory above it is deleted."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from conftest import MakeManager
from deletion_support import mounted, needs_linux, needs_root
from support import assert_balanced, wait_until
from tempfleet import AlreadyClaimed, FileMissing, NotRegistered, TempFileManager, VolumeUnavailable
from tempfleet.cleanup import Cause, CleanupReport
from tempfleet.deletion import failpoints
from tempfleet.filesystem import digest_of
from tempfleet.records import Flag, Outcome, State
from tempfleet.testing import FakeClock


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.fixture
def manager(make_manager: MakeManager, data: Path) -> TempFileManager:
    return make_manager(allowed_roots=(str(data),))


@pytest.fixture
def at_point() -> Iterator[Callable[[str, Callable[[], object]], None]]:
    """Runs work once, when the deleter first reaches a point."""

    def install(point: str, work: Callable[[], object]) -> None:
        todo = [work]
        failpoints.install(lambda reached: todo.pop()() if reached == point and todo else None)

    yield install
    failpoints.install(None)


WAYS = ("guarded", "direct")


def directory_of(manager: TempFileManager, data: Path, way: str = "guarded", ttl: float = 10) -> Path:
    """A registered directory that is deleted in this way."""
    if way == "direct":
        return Path(manager.create_dir(ttl=ttl).path)
    directory = data / "directory"
    directory.mkdir()
    manager.register(directory, directory=True, ttl=ttl)
    return directory


def file_in(directory: Path, name: str = "sub/deep/file") -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("content")
    return path


def clean(manager: TempFileManager, directory: Path) -> CleanupReport:
    """Clean only this directory, as if the clean-up had not come to the files in it yet."""
    return manager.cleaner.clean_paths([[str(directory)]], Cause.EXPIRED, until_ms=manager.registry.now_ms())


def due_ms(manager: TempFileManager, path: Path) -> int | None:
    record = manager.get_record(path)
    assert record is not None
    assert record.state is State.WAITING
    return record.due_ms


def outcomes(manager: TempFileManager, **options: bool) -> dict[str, Outcome]:
    return {result.path: result.outcome for result in manager.preview(**options)}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("first", ["directory", "file"])
def test_a_directory_waits_for_the_deadline_of_a_file_in_it(
    manager: TempFileManager, clock: FakeClock, data: Path, way: str, first: str
) -> None:
    directory = directory_of(manager, data, way)
    file = file_in(directory)
    if first == "file" and way == "guarded":
        manager.unregister(directory)
        manager.register(file, ttl=100)
        manager.register(directory, directory=True, ttl=10)
    else:
        manager.register(file, ttl=100)
    deadline_ms = due_ms(manager, file)
    clock.advance(50)
    report = manager.cleanup_report()
    assert (report.counts[Outcome.BUSY], report.deleted, report.kept) == (1, 0, 1)
    assert file.read_text() == "content"
    record = manager.get_record(directory)
    assert record is not None
    assert (record.due_ms, record.attempts, record.last_error) == (deadline_ms, 0, "promised-inside")
    clock.advance(51)
    assert manager.cleanup() == 2
    assert not directory.exists()
    assert_balanced(manager)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("quarantine", [0, 60])
def test_a_directory_waits_for_a_held_file_in_it(
    make_manager: MakeManager, clock: FakeClock, data: Path, way: str, force: bool, quarantine: int
) -> None:
    manager = make_manager(allowed_roots=(str(data),), quarantine_seconds=quarantine)
    directory = directory_of(manager, data, way)
    file = file_in(directory)
    manager.register(file, ttl=5)
    manager.hold(file, 1000)
    clock.advance(500)
    assert manager.cleanup(force=force) == 0
    assert file.read_text() == "content"
    record = manager.get_record(directory)
    assert record is not None
    assert record.last_error == "held-inside"
    manager.hold(file)
    clock.advance(600)
    assert manager.cleanup(force=force) == 0
    assert file.read_text() == "content"
    manager.unhold(file)
    clock.advance(4000)
    report = manager.cleanup_report(force=force)
    assert report.deleted + report.set_aside == 2
    assert not directory.exists()
    assert_balanced(manager)


@pytest.mark.parametrize("way", WAYS)
def test_a_due_file_in_a_directory_goes_with_it(
    manager: TempFileManager,
    make_manager: MakeManager,
    tmp_path: Path,
    clock: FakeClock,
    data: Path,
    way: str,
) -> None:
    other = make_manager(tmp_path / "other", allowed_roots=(str(tmp_path),))
    directory = directory_of(manager, data, way)
    own, others = file_in(directory, "own"), file_in(directory, "others")
    manager.register(own, ttl=20)
    other.register(others, ttl=20)
    clock.advance(30)
    assert clean(manager, directory).deleted == 1
    assert not directory.exists()
    assert manager.get_record(own) is None
    assert other.get_record(others) is None
    assert manager.stats().total("missing") == 1
    assert other.stats().total("missing") == 1
    for volume in (manager, other):
        assert_balanced(volume)


@pytest.mark.parametrize("way", WAYS)
def test_every_volume_of_the_host_is_asked(
    manager: TempFileManager,
    make_manager: MakeManager,
    tmp_path: Path,
    clock: FakeClock,
    data: Path,
    way: str,
) -> None:
    directory = directory_of(manager, data, way)
    other = make_manager(tmp_path / "other", allowed_roots=(str(tmp_path),))
    file = file_in(directory)
    other.register(file, ttl=100)
    clock.advance(50)
    assert manager.cleanup(force=True) == 0
    assert file.exists()
    assert due_ms(manager, directory) == due_ms(other, file)
    other.unregister(file)
    clock.advance(60)
    assert manager.cleanup() == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("force", [False, True])
def test_a_base_directory_inside_is_never_touched(
    manager: TempFileManager, make_manager: MakeManager, clock: FakeClock, data: Path, way: str, force: bool
) -> None:
    directory = directory_of(manager, data, way)
    other = make_manager(directory / "deep" / "base")
    with other.create(ttl=1) as file:
        pass
    assert not os.path.exists(file.path)
    clock.advance(5000)
    (result,) = manager.preview(force=force)
    assert manager.cleanup(force=force) == 0
    assert (directory / "deep" / "base").is_dir()
    assert result.obstacle is not None
    assert (result.reason, result.obstacle.path) == ("volume-inside", str(directory / "deep" / "base"))


def test_a_directory_that_became_a_base_directory_stays(
    manager: TempFileManager, make_manager: MakeManager, clock: FakeClock, data: Path
) -> None:
    directory = directory_of(manager, data)
    other = make_manager(directory)
    path = other.create_dir(ttl=1000).path
    clock.advance(50)
    assert manager.cleanup(force=True) == 0
    assert os.path.exists(path)


@pytest.mark.parametrize("way", WAYS)
def test_a_private_directory_inside_keeps_the_directory(
    manager: TempFileManager, clock: FakeClock, data: Path, way: str
) -> None:
    directory = directory_of(manager, data, way)
    file = file_in(directory, f"root/.tempfleet-{os.geteuid()}/entry")
    clock.advance(50)
    assert manager.cleanup() == 0
    assert file.exists()
    assert "private-inside" in str(manager.explain(directory))


@needs_linux
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", [".", "sub/deep"])
def test_a_directory_that_a_process_works_in_stays(
    manager: TempFileManager, clock: FakeClock, data: Path, way: str, place: str
) -> None:
    directory = directory_of(manager, data, way)
    file_in(directory)
    clock.advance(50)
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], cwd=directory / place, stdin=subprocess.PIPE
    )
    try:
        wait_until(lambda: psutil.Process(process.pid).cwd() == str((directory / place).resolve()))
        (result,) = manager.preview()
        assert manager.cleanup() == 0
        assert (result.outcome, result.reason) == (Outcome.BUSY, "working-directory")
    finally:
        process.communicate(b"\n")
    clock.advance(100)
    assert manager.cleanup() == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch_size", [1, 2, 500])
def test_a_forced_clean_up_empties_everything_in_one_call(
    make_manager: MakeManager, data: Path, way: str, batch_size: int
) -> None:
    manager = make_manager(allowed_roots=(str(data),), batch_size=batch_size)
    directory = directory_of(manager, data, way)
    nested = directory / "sub"
    for n in range(5):
        manager.register(file_in(directory, f"sub/{n}/file"), ttl=1000)
        manager.register(nested / str(n), directory=True, ttl=1000)
    manager.register(nested, directory=True, ttl=1000)
    expected = outcomes(manager, force=True)
    report = manager.cleanup_report(force=True)
    assert (report.deleted, report.kept, report.handed_back) == (12, 0, 0)
    assert set(expected.values()) == {Outcome.DELETED}
    assert len(expected) == 12
    assert not directory.exists()
    assert len(manager.registry) == 0
    assert_balanced(manager)


@pytest.mark.parametrize("batch_size", [1, 500])
def test_a_forced_clean_up_of_some_files_keeps_the_directory_of_the_others(
    make_manager: MakeManager, data: Path, batch_size: int
) -> None:
    manager = make_manager(allowed_roots=(str(data),), batch_size=batch_size)
    directory = data / "directory"
    wanted, other = file_in(directory, "wanted"), file_in(directory, "other")
    manager.register(wanted, ttl=100, tags=["job"])
    manager.register(other, ttl=200)
    manager.register(directory, directory=True, ttl=10, tags=["job"])
    expected = [result.outcome for result in manager.preview(force=True, tags=["job"])]
    report = manager.cleanup_report(force=True, tags=["job"])
    assert (report.deleted, report.counts[Outcome.BUSY]) == (1, 1)
    assert sorted(expected) == [Outcome.BUSY, Outcome.DELETED]
    assert other.exists()
    assert due_ms(manager, directory) == due_ms(manager, other)


def test_the_end_of_a_block_keeps_what_others_registered_in_its_directory(
    manager: TempFileManager, make_manager: MakeManager, tmp_path: Path, data: Path
) -> None:
    other = make_manager(tmp_path / "other", allowed_roots=(str(tmp_path),))
    with manager:
        kept, gone = data / "kept", data / "gone"
        for directory in (kept, gone):
            manager.register(file_in(directory, "own"))
            manager.register(directory, directory=True)
        file = file_in(kept, "others")
        other.register(file)
    assert file.exists()
    assert not (kept / "own").exists()
    assert not gone.exists()
    with manager.create_dir() as created:
        inside = file_in(Path(created.path))
        other.register(inside)
    assert inside.exists()


def test_quarantined_directories_are_purged_whatever_has_their_paths_now(
    make_manager: MakeManager, clock: FakeClock, data: Path
) -> None:
    manager = make_manager(allowed_roots=(str(data),), quarantine_seconds=1000)
    directory = directory_of(manager, data)
    manager.register(file_in(directory), ttl=5)
    clock.advance(20)
    assert manager.cleanup_report().set_aside == 2
    file = file_in(directory)
    manager.register(file, ttl=1000)
    assert manager.purge_quarantine().deleted == 2
    assert file.exists()
    assert_balanced(manager)


def test_an_eviction_keeps_a_directory_with_a_file_that_is_not_due(
    manager: TempFileManager, data: Path
) -> None:
    directory = directory_of(manager, data)
    manager.hold(register(manager, file_in(directory)))
    record = manager.get_record(directory)
    assert record is not None
    (result,) = manager.cleaner.previews.evicted([record])
    assert (result.outcome, result.reason) == (Outcome.BUSY, "held-inside")


def register(manager: TempFileManager, path: Path, ttl: float = 100) -> Path:
    manager.register(path, ttl=ttl)
    return path


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("quarantine", [0, 60])
@pytest.mark.parametrize("change", ["hold", "renew", "register"])
def test_a_promise_made_until_the_rename_gives_the_directory_its_name_back(
    make_manager: MakeManager,
    clock: FakeClock,
    data: Path,
    at_point: Callable[[str, Callable[[], object]], None],
    way: str,
    quarantine: int,
    change: str,
) -> None:
    manager = make_manager(allowed_roots=(str(data),), quarantine_seconds=quarantine)
    directory = directory_of(manager, data, way)
    file, due = file_in(directory), file_in(directory, "due")
    manager.register(due, ttl=5)
    if change != "register":
        manager.register(file, ttl=5)
    inspected = manager.inspect(file, ttl=100)
    clock.advance(50)
    changes: dict[str, Callable[[], object]] = {
        "hold": lambda: manager.hold(file, 100),
        "renew": lambda: manager.renew(file, ttl=100),
        "register": lambda: manager.registry.register([inspected]),
    }
    at_point("guarded.compared", changes[change])
    report = clean(manager, directory)
    assert (report.deleted, report.set_aside, report.counts[Outcome.BUSY]) == (0, 0, 1)
    assert file.read_text() == "content"
    assert due.read_text() == "content"
    record = manager.get_record(due)
    assert record is not None
    assert record.state is State.WAITING
    assert_balanced(manager)


@pytest.mark.parametrize("way", WAYS)
def test_nobody_is_promised_a_file_of_a_directory_that_goes(
    manager: TempFileManager,
    clock: FakeClock,
    data: Path,
    at_point: Callable[[str, Callable[[], object]], None],
    way: str,
) -> None:
    directory = directory_of(manager, data, way)
    due, fresh = file_in(directory, "due"), file_in(directory, "fresh")
    manager.register(due, ttl=5)
    inspected = manager.inspect(fresh)
    clock.advance(50)

    def promise() -> None:
        with pytest.raises((AlreadyClaimed, NotRegistered)):
            manager.renew(due)
        with pytest.raises((AlreadyClaimed, NotRegistered)):
            manager.hold(due)
        with pytest.raises(FileMissing):
            manager.register_inspected(inspected)
        with pytest.raises(FileMissing):
            manager.register(due)

    at_point("tree.entry", promise)
    assert clean(manager, directory).deleted == 1
    assert not directory.exists()
    assert_balanced(manager)


def test_a_volume_that_is_new_in_a_deleted_directory_registers_nothing(
    manager: TempFileManager, make_manager: MakeManager, clock: FakeClock, data: Path
) -> None:
    directory = directory_of(manager, data)
    other = make_manager(directory / "base")
    clock.advance(50)
    assert manager.cleanup() == 1
    with pytest.raises(VolumeUnavailable):
        other.create()


@pytest.mark.parametrize("way", WAYS)
def test_a_claimer_that_died_after_the_rename_leaves_no_short_cut(
    manager: TempFileManager, clock: FakeClock, data: Path, way: str
) -> None:
    directory = directory_of(manager, data, way)
    file = file_in(directory)
    inspected = manager.inspect(file, ttl=1000)
    clock.advance(50)

    private = manager.roots.find(str(directory)).private  # type: ignore[union-attr]
    claim = manager.registry.claim(limit=10, lease_ms=1000)
    entry = f"{digest_of(str(directory))}.{claim.token:x}"
    os.rename(directory, entry, dst_dir_fd=private.open())
    manager.registry.register([inspected])
    clock.advance(10)
    assert manager.cleanup() == 0
    assert file.read_text() == "content"
    assert due_ms(manager, directory) == due_ms(manager, file)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), KeyboardInterrupt()])
def test_a_directory_that_got_its_name_back_as_its_destruction_began_is_asked_about_again(
    manager: TempFileManager,
    at_point: Callable[[str, Callable[[], object]], None],
    clock: FakeClock,
    data: Path,
    way: str,
    error: BaseException,
) -> None:
    directory = directory_of(manager, data, way)
    clock.advance(50)

    def fail() -> None:
        raise error

    at_point("begin.recorded", fail)
    with suppress(KeyboardInterrupt):
        clean(manager, directory)
    record = manager.get_record(directory)
    assert record is not None and Flag.BEGUN in record.flags
    promised, held = file_in(directory, "promised"), file_in(directory, "held")
    manager.register(promised, ttl=1000)
    manager.register(held, ttl=10)
    manager.hold(held, 2000)
    clock.advance(500)
    assert manager.cleanup() == 0
    assert promised.read_text() == held.read_text() == "content"
    clock.advance(2001)
    assert manager.cleanup() == 3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("point", ["begin.recorded", "tree.entry"])
@pytest.mark.parametrize("promise", ["registered", "held"])
def test_a_directory_that_has_its_name_again_after_its_destruction_had_begun_keeps_what_is_registered_in_it(
    manager: TempFileManager,
    clock: FakeClock,
    data: Path,
    at_point: Callable[[str, Callable[[], object]], None],
    way: str,
    point: str,
    promise: str,
) -> None:
    directory = directory_of(manager, data, way)
    file_in(directory, "a")
    clock.advance(10)

    def fail() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    at_point(point, fail)
    assert manager.cleanup() == 0
    record = manager.get_record(directory)
    assert directory.exists() and record is not None and Flag.BEGUN in record.flags
    file = file_in(directory, "later")
    manager.register(file, ttl=10_000 if promise == "registered" else 1)
    if promise == "held":
        manager.hold(file, 10_000)
    clock.advance(5000)
    assert manager.cleanup() == 0
    assert file.exists()
    if promise == "held":
        assert manager.cleanup(force=True) == 0
        assert file.exists()
    clock.advance(10_000)
    manager.cleanup()
    assert not directory.exists()
    assert_balanced(manager)


def test_names_of_any_bytes_are_asked_for(manager: TempFileManager, clock: FakeClock, data: Path) -> None:
    directory = directory_of(manager, data)
    name = os.fsdecode(b"caf\xe9 \n\t{|}\xff")
    file = file_in(directory, f"{name}/{name}")
    manager.register(file, ttl=100)
    clock.advance(50)
    assert manager.cleanup() == 0
    assert file.exists()
    (line,) = (json.loads(line) for line in _audit_log(manager).read_text().splitlines())
    assert (line["outcome"], line["inside"]) == ("busy", str(file))
    clock.advance(60)
    assert manager.cleanup() == 2


def _audit_log(manager: TempFileManager) -> Path:
    return Path(manager.base_dir) / f".tempfleet-{os.geteuid()}" / "audit.log"


def test_a_file_is_found_below_a_directory_that_was_registered_through_a_symlink(
    manager: TempFileManager, clock: FakeClock, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(data)
    file = file_in(data / "directory")
    manager.register(tmp_path / "link" / "directory", directory=True, ttl=10)
    manager.register(tmp_path / "link" / "directory" / "sub" / "deep" / "file", ttl=100)
    clock.advance(50)
    assert manager.cleanup() == 0
    assert file.exists()


@needs_root
@needs_linux
@pytest.mark.parametrize("mount", ["above", "below"])
def test_a_file_is_found_that_was_registered_through_another_mount(
    make_manager: MakeManager, clock: FakeClock, data: Path, tmp_path: Path, mount: str
) -> None:
    file = file_in(data / "directory")
    source = data if mount == "above" else file.parent
    with mounted(["--bind", str(source)], tmp_path / "mounted"):
        manager = make_manager(allowed_roots=(str(data),))
        other = make_manager(tmp_path / "other", allowed_roots=(str(tmp_path / "mounted"),))
        manager.register(data / "directory", directory=True, ttl=10)
        other.register(tmp_path / "mounted" / file.relative_to(source), ttl=100)
        clock.advance(50)
        assert manager.cleanup(force=True) == 0
        assert file.exists()
        clock.advance(60)
        if mount == "below":  # it keeps the directory, until nobody uses the root any more
            assert manager.cleanup() == 0
            clock.advance(3600)
            (tmp_path / "mounted" / ".tempfleet-0").rmdir()
        assert manager.cleanup() == 1
        manager.close()
        other.close()


@needs_root
@needs_linux
def test_a_base_directory_is_found_that_has_another_path(
    make_manager: MakeManager, clock: FakeClock, data: Path, tmp_path: Path
) -> None:
    (data / "directory" / "base").mkdir(parents=True)
    with mounted(["--bind", str(data / "directory" / "base")], tmp_path / "mounted"):
        manager = make_manager(allowed_roots=(str(data),))
        other = make_manager(tmp_path / "mounted")
        path = other.create_dir(ttl=5).path
        manager.register(data / "directory", directory=True, ttl=10)
        clock.advance(50)
        assert manager.cleanup(force=True) == 0
        assert os.path.exists(path)
        manager.close()
        other.close()


def test_a_dry_run_tells_what_a_clean_up_does(
    manager: TempFileManager, make_manager: MakeManager, tmp_path: Path, clock: FakeClock, data: Path
) -> None:
    other = make_manager(tmp_path / "other", allowed_roots=(str(tmp_path),))
    for name in ("free", "due", "later", "held", "others", "nested"):
        manager.register(_made(data / name), directory=True, ttl=10)
    manager.register(file_in(data / "due"), ttl=20)
    manager.register(file_in(data / "later"), ttl=1000)
    manager.hold(register(manager, file_in(data / "held"), ttl=20))
    other.register(file_in(data / "others"), ttl=1000)
    manager.register(_made(data / "nested" / "inner"), directory=True, ttl=15)
    manager.register(file_in(data / "nested" / "inner"), ttl=2000)
    clock.advance(50)
    for force in (False, True):
        expected = {(result.path, result.outcome) for result in manager.preview(force=force)}
        results = {(file.path, file.outcome) for file in manager.cleanup_batch(force=force).files}
        assert results == expected
    left = {name for name in os.listdir(data) if not name.startswith(".")}
    assert left == {"held", "others"}
    assert_balanced(manager)


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def test_explain_and_the_log_name_the_file(
    manager: TempFileManager, clock: FakeClock, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = directory_of(manager, data)
    file = register(manager, file_in(directory))
    clock.advance(50)
    assert f"because of {file} (promised-inside: " in str(manager.explain(directory))
    assert manager.explain(directory).as_dict()["if_due"]["inside"] == str(file)
    with caplog.at_level(logging.INFO):
        manager.cleanup()
    assert f"promised-inside ({file})" in caplog.text


def test_a_thousand_names_take_one_round_trip(manager: TempFileManager, clock: FakeClock, data: Path) -> None:
    directory = directory_of(manager, data)
    for n in range(2500):
        (directory / str(n)).touch()
    clock.advance(50)
    assert outcomes(manager) == {str(directory): Outcome.DELETED}
    claim = manager.registry.claim(limit=1, lease_ms=1000)
    before = manager.store.round_trips
    (result,) = manager.cleaner.deleter.delete(claim.records, token=claim.token, may_go_on=lambda: True)
    assert result.outcome is Outcome.DELETED
    # Three each time that the directory is looked at, two for the list of volumes, two for the epoch and the beginning.
    assert manager.store.round_trips - before == 3 + 3 + 2 + 2


def test_descriptors_are_given_back_and_no_depth_is_too_deep(
    manager: TempFileManager, clock: FakeClock, data: Path
) -> None:
    directory = directory_of(manager, data)
    fd = os.open(directory, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        deeper = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    file = directory / "d" / "d" / "file"
    file.touch()
    manager.register(file, ttl=100)
    clock.advance(50)
    manager.cleaner.prepare()
    manager.cleanup()
    before = psutil.Process().num_fds()
    clock.advance(40)
    assert manager.cleanup() == 0
    clock.advance(40)
    assert manager.cleanup() == 2
    assert psutil.Process().num_fds() == before
    assert not directory.exists()


def test_a_directory_too_large_for_the_budget_gets_twice_the_time_at_the_next_try(
    manager: TempFileManager, clock: FakeClock, data: Path
) -> None:
    directory = directory_of(manager, data)
    for n in range(20_000):
        (directory / str(n)).touch()
    clock.advance(50)
    assert manager.cleaner.clean_due(budget_seconds=0.03).deleted == 0
    assert (directory / "0").exists()
    for _ in range(20):
        clock.advance(5)
        if manager.cleaner.clean_due(budget_seconds=0.03).deleted:
            break
    assert not directory.exists()


def test_a_due_file_whose_claim_ran_out_meanwhile_keeps_its_directory(
    manager: TempFileManager, clock: FakeClock, data: Path
) -> None:
    directory = directory_of(manager, data)
    file = file_in(directory)
    manager.register(file, ttl=5)
    record = manager.get_record(directory)
    assert record is not None
    clock.advance(50)

    def pages() -> Iterator[list[str]]:
        yield [str(file)]
        clock.advance(manager.settings.lease_ms / 1000)
        manager.registry.reap()
        manager.renew(file, ttl=1000)

    promises = manager.cleaner.promises
    obstacle = promises.obstacle(record, pages(), claim=True)
    assert obstacle is not None
    assert (obstacle.path, obstacle.reason) == (str(file), "claimed-inside")
    promises.settle(record, gone=False)
    assert_balanced(manager)


@pytest.mark.parametrize("way", WAYS)
def test_what_a_dead_claimer_left_costs_no_record_of_the_directory_that_has_its_name(
    manager: TempFileManager, clock: FakeClock, data: Path, way: str
) -> None:
    directory = directory_of(manager, data, way)
    file_in(directory)
    clock.advance(50)
    root = manager.roots.find(str(directory))
    assert root is not None
    claim = manager.registry.claim(limit=10, lease_ms=1000)
    os.rename(directory, f"{digest_of(str(directory))}.{claim.token:x}", dst_dir_fd=root.private.open())
    file = file_in(directory)
    manager.register(file, ttl=1)
    clock.advance(10)
    assert clean(manager, directory).deleted == 0
    manager.registry.reap()
    assert clean(manager, directory).deleted == 1
    assert file.exists()
    record = manager.get_record(file)
    assert record is not None
    assert record.state is State.WAITING
    assert_balanced(manager)
