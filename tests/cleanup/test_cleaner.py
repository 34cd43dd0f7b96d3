"""The cleaner: what it deletes, what it hands back and what it reports, whatever ends it."""

from __future__ import annotations

import _thread
import errno
import logging
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from support import assert_balanced, python, snapshot, tree, wait_until
from tempfleet import CleanupReport, Outcome, Settings, State, TempFileManager, VolumeUnavailable
from tempfleet.cleanup.cause import Cause
from tempfleet.cleanup.preview import CREATION_SECONDS
from tempfleet.deletion import failpoints as faults
from tempfleet.embedded import EmbeddedServer
from tempfleet.errors import RegistryUnavailable
from tempfleet.registry.store import server_clock
from tempfleet.registry.values import Nack
from tempfleet.testing import FakeClock
from tempfleet.threads import SignalSafeCall

MakeManager = Callable[..., TempFileManager]
AtEachFile = Callable[[Callable[[], None]], None]


@pytest.fixture
def at_each_file() -> Iterator[AtEachFile]:
    """Installs an action that the deleting thread runs just before each unlink."""

    def install(action: Callable[[], None]) -> None:
        faults.install(lambda point: action() if point.endswith(".found") else None)

    yield install
    faults.install(None)


def create(manager: TempFileManager, count: int, **kwargs: float) -> list[Path]:
    paths = []
    for _ in range(count):
        with manager.create(**kwargs).file as file:
            file.write(b"x" * 10)
            paths.append(Path(file.name))
    return paths


def write(base_dir: Path, name: str = "file", content: str = "content") -> Path:
    path = base_dir / name
    path.write_text(content)
    return path


def left(paths: list[Path]) -> int:
    return sum(path.exists() for path in paths)


def fails_with(number: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return fail


# -- which files are deleted


def test_only_removed_files_count_as_deleted(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    for name in ("deleted", "missing", "replaced", "rewritten"):
        manager.register(write(base_dir, name))
    (base_dir / "missing").unlink()
    (base_dir / "replaced").unlink()
    (base_dir / "replaced").mkdir()
    os.replace(write(base_dir, "new"), base_dir / "rewritten")
    clock.advance(3600)
    report = manager.cleanup_report()
    counts = {outcome: n for outcome, n in report.counts.items() if n}
    outcomes = (Outcome.DELETED, Outcome.MISSING, Outcome.REPLACED, Outcome.REWRITTEN)
    assert counts == dict.fromkeys(outcomes, 1)
    assert (report.deleted, report.kept) == (1, 0)
    assert report.as_dict()["missing"] == 1
    assert (base_dir / "replaced").is_dir()
    stats = manager.stats()
    assert [stats.total(outcome) for outcome in outcomes] == [1, 1, 1, 1]
    assert list(manager.files) == [str(base_dir / "rewritten")]
    assert_balanced(manager)


def test_a_clean_up_with_nothing_to_do_does_nothing(
    manager: TempFileManager, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(manager.files) == 0
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    report = manager.cleaner.clean_due()
    assert report.as_dict() | {"seconds": 0} == CleanupReport().as_dict() | {"seconds": 0}
    assert caplog.messages == []


# -- early ends


def test_a_budget_that_is_used_up_hands_the_claim_back(manager: TempFileManager, clock: FakeClock) -> None:
    paths = create(manager, 50)
    clock.advance(3600)
    report = manager.cleaner.clean_due(budget_seconds=0)
    assert (report.deleted, report.handed_back, report.finished) == (0, 50, False)
    stats = manager.stats()
    assert (stats.due, stats.leased, stats.claims, stats.retrying, stats.total("failed")) == (50, 0, 0, 0, 0)
    assert manager.cleanup() == 50
    assert left(paths) == 0


def test_a_stop_hands_back_unstarted_files_and_settles_the_others(
    make_manager: MakeManager, clock: FakeClock, at_each_file: AtEachFile
) -> None:
    manager = make_manager(batch_size=100, threads=2)
    paths = create(manager, 150)
    clock.advance(3600)
    stop = threading.Event()
    numbers = iter(range(1000))
    at_each_file(lambda: stop.set() if next(numbers) == 20 else None)
    report = manager.cleaner.clean_due(stop=stop)
    assert not report.finished
    assert 20 <= report.deleted <= 21  # the thread that stops keeps its file; the other one deletes its own
    assert report.deleted + report.handed_back == 100
    assert left(paths) == 150 - report.deleted
    stats = manager.stats()
    assert (stats.due, stats.leased, stats.claims) == (150 - report.deleted, 0, 0)
    assert manager.cleanup() == 150 - report.deleted
    assert_balanced(manager)


class TimeIsUp(BaseException):
    """Like billiard's SoftTimeLimitExceeded: raised by a signal handler at any point of the main thread."""


@pytest.mark.parametrize("force", [False, True])
def test_an_exception_in_the_main_thread_hands_back_unstarted_files_and_is_raised(
    make_manager: MakeManager, clock: FakeClock, at_each_file: AtEachFile, force: bool
) -> None:
    manager = make_manager(batch_size=200, threads=4)
    paths = create(manager, 200)
    clock.advance(3600)
    raised = threading.Event()

    def time_is_up(*_: object) -> None:
        raised.set()
        raise TimeIsUp

    numbers = iter(range(1000))

    def interrupt() -> None:
        if next(numbers) == 30:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert raised.wait(10)

    at_each_file(interrupt)
    before = signal.signal(signal.SIGUSR1, time_is_up)
    try:
        with pytest.raises(TimeIsUp):
            manager.cleanup(force=force)
    finally:
        signal.signal(signal.SIGUSR1, before)
    stats = manager.stats()
    deleted = stats.total("deleted")
    assert 0 < deleted < 200
    assert left(paths) == 200 - deleted
    assert (stats.waiting, stats.leased, stats.claims, stats.retrying) == (200 - deleted, 0, 0, 0)
    faults.install(None)
    assert manager.cleanup() == 200 - deleted
    assert_balanced(manager)


def test_an_exception_while_a_thread_starts_loses_no_outcome(
    make_manager: MakeManager, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = make_manager(batch_size=200, threads=4)
    paths = create(manager, 200)
    clock.advance(3600)
    deleting, waited = threading.Event(), threading.Event()
    start, wait = _thread.start_new_thread, SignalSafeCall.wait

    def start_and_raise(work: Callable[[], None], args: tuple[()]) -> None:
        start(work, args)
        assert deleting.wait(10)
        raise TimeIsUp

    def delete_until_waited_for(point: str) -> None:
        if point == "direct.unlinked":
            deleting.set()
            assert waited.wait(10)

    def wait_and_report(call: SignalSafeCall, timeout: float = -1) -> bool:
        waited.set()
        return wait(call, timeout)

    faults.install(delete_until_waited_for)
    with monkeypatch.context() as patch:
        patch.setattr("_thread.start_new_thread", start_and_raise)
        patch.setattr(SignalSafeCall, "wait", wait_and_report)
        with pytest.raises(TimeIsUp):
            manager.cleanup()
    assert manager.stats().total("deleted") == 200 - left(paths) == 1
    faults.install(None)
    assert manager.cleanup() == 199
    assert_balanced(manager)


def test_an_exception_of_the_caller_ends_the_clean_up_after_settling_all_files(
    make_manager: MakeManager, clock: FakeClock
) -> None:
    manager = make_manager(batch_size=10)
    create(manager, 30)
    clock.advance(3600)

    def fall_over(report: CleanupReport) -> None:
        raise TimeIsUp

    with pytest.raises(TimeIsUp):
        manager.cleanup_report(progress=fall_over)
    stats = manager.stats()
    assert (stats.total("deleted"), stats.due, stats.leased, stats.claims) == (10, 20, 0, 0)


def test_an_error_in_a_deleting_thread_is_raised_after_settling_all_files(
    make_manager: MakeManager, clock: FakeClock, at_each_file: AtEachFile
) -> None:
    manager = make_manager(threads=2)
    paths = create(manager, 64)
    clock.advance(3600)
    numbers = iter(range(1000))

    def stumble() -> None:
        if next(numbers) == 10:
            raise ZeroDivisionError

    at_each_file(stumble)
    with pytest.raises(ZeroDivisionError):
        manager.cleanup()
    stats = manager.stats()
    assert (stats.leased, stats.claims) == (0, 0)
    assert stats.waiting == 64 - stats.total("deleted") == left(paths)
    assert_balanced(manager)


# -- leases


def test_a_lease_that_was_reaped_during_the_batch_settles_nothing(
    manager: TempFileManager,
    make_manager: MakeManager,
    clock: FakeClock,
    at_each_file: AtEachFile,
    caplog: pytest.LogCaptureFixture,
) -> None:
    paths = create(manager, 5)
    clock.advance(3600)
    other = make_manager()
    second: list[CleanupReport] = []

    def lose_it() -> None:
        faults.install(None)
        clock.advance(manager.settings.lease_seconds)
        second.append(other.cleaner.clean_due())

    at_each_file(lose_it)
    first = manager.cleaner.clean_due()
    assert second[0].recovered == 5
    assert first.lost == 5
    assert left(paths) == 0
    stats = manager.stats()
    assert stats.total("deleted") + stats.total("missing") == 5
    assert (stats.active, stats.total("leases_expired")) == (0, 1)
    assert_balanced(manager)


def test_a_holder_extends_its_lease_while_one_file_takes_long(
    redis_client: redis.Redis, base_dir: Path, at_each_file: AtEachFile
) -> None:
    settings = Settings.load(base_dir=str(base_dir), host="web-1", lease_seconds=1)
    manager = TempFileManager(settings=settings, client=redis_client)
    create(manager, 1, ttl=0.001)
    claims = f"tempfleet:{{{manager.volume}}}:claims"

    def lease_ends() -> float:
        return redis_client.zrange(claims, 0, 0, withscores=True)[0][1]

    def take_long() -> None:
        first = lease_ends()
        wait_until(lambda: lease_ends() >= first + 500)

    at_each_file(take_long)
    report = wait_until(lambda: (report := manager.cleanup_report()).deleted and report)
    assert (report.deleted, report.lost) == (1, 0)
    manager.close()


def test_a_holder_whose_lease_is_gone_stops_before_the_unlink(
    redis_client: redis.Redis, base_dir: Path, clock: FakeClock, at_each_file: AtEachFile
) -> None:
    settings = Settings.load(base_dir=str(base_dir), host="web-1", lease_seconds=0.4, threads=1)
    manager = TempFileManager(settings=settings, client=redis_client, clock=clock)
    paths = create(manager, 10)
    clock.advance(3600)
    ends = threading.Event()

    def be_reaped() -> None:
        if not ends.is_set():
            clock.advance(10)
            manager.registry.reap()
            ends.set()
            with pytest.raises(AssertionError):  # until the extension is refused
                wait_until(lambda: False, timeout=0.5)

    at_each_file(be_reaped)
    report = manager.cleaner.clean_due()
    assert report.lost == 10
    assert (left(paths), report.finished) == (0, True)  # the next claim got all of them
    assert manager.stats().total("deleted") == 10
    manager.close()


def test_files_of_a_cleaner_that_died_are_recovered_and_never_counted_as_failed(
    manager: TempFileManager, clock: FakeClock
) -> None:
    paths = create(manager, 5)
    clock.advance(3600)
    manager.registry.claim(limit=100, lease_ms=1000)
    assert manager.cleanup() == 0
    clock.advance(1)
    report = manager.cleanup_report()
    assert (report.recovered, report.deleted, left(paths)) == (5, 5, 0)
    create(manager, 2)
    clock.advance(3600)
    manager.registry.claim(limit=100, lease_ms=1000)
    clock.advance(1)
    assert manager.cleanup_report(force=True).recovered == 2
    assert manager.stats().total("failed") == 0


def test_a_redis_failure_during_the_batch_loses_no_record(
    tmp_path: Path, base_dir: Path, at_each_file: AtEachFile
) -> None:
    with EmbeddedServer.start(tmp_path / "server", appendfsync="always") as server:
        settings = Settings.load(base_dir=str(base_dir), redis_url=server.unix_url, lease_seconds=0.2)
        manager = TempFileManager(settings=settings)
        paths = [write(base_dir, f"file-{n}") for n in range(40)]
        manager.register_many(paths, ttl=0.001)
        wait_until(lambda: manager.stats().due == 40)
        at_each_file(server.kill)
        with pytest.raises(RegistryUnavailable):
            manager.cleanup()
    faults.install(None)
    with EmbeddedServer.start(tmp_path / "server"):
        wait_until(lambda: manager.cleanup_report().as_dict() and manager.stats().active == 0)
        assert left(paths) == 0
        stats = manager.stats()
        assert stats.total("deleted") + stats.total("missing") == 40
        assert_balanced(manager)
        manager.close()


# -- failures


def test_a_failing_file_is_retried_with_back_off_and_then_becomes_a_dead_letter(
    make_manager: MakeManager, base_dir: Path, clock: FakeClock, at_each_file: AtEachFile
) -> None:
    manager = make_manager(max_attempts=4, retry_delay_seconds=8)
    path = write(base_dir)
    manager.register(path)
    clock.advance(3600)
    at_each_file(fails_with(errno.EACCES))
    waits = []
    for attempt in (1, 2, 3):
        report = manager.cleanup_report()
        assert (report.counts[Outcome.FAILED], report.kept, report.deleted) == (1, 1, 0)
        record = manager.get_record(path)
        assert record is not None
        assert (record.state, record.attempts, record.last_error) == (State.WAITING, attempt, "EACCES")
        waits.append(((record.due_ms or 0) - clock.now_ms) / 1000)
        assert manager.cleanup() == 0
        clock.advance(waits[-1])
    assert [6 * 2**n <= wait <= 8 * 2**n for n, wait in enumerate(waits)] == [True] * 3
    assert manager.cleanup() == 0
    record = manager.get_record(path)
    assert record is not None
    assert (record.state, record.attempts, record.due_ms) == (State.DEAD, 4, None)
    faults.install(None)
    clock.advance(10**6)
    assert manager.cleanup(force=True) == 0
    assert path.exists()
    manager.registry.revive([str(path.resolve())])
    assert manager.cleanup() == 1
    assert_balanced(manager)


def test_a_busy_file_never_becomes_a_dead_letter_and_is_deleted_when_it_is_free(
    make_manager: MakeManager, base_dir: Path, clock: FakeClock, at_each_file: AtEachFile
) -> None:
    manager = make_manager(max_attempts=1)
    path = write(base_dir)
    manager.register(path)
    clock.advance(3600)
    at_each_file(fails_with(errno.EBUSY))
    for _ in range(40):
        assert manager.cleanup_report().counts[Outcome.BUSY] == 1
        record = manager.get_record(path)
        assert record is not None
        assert (record.state, record.attempts) == (State.WAITING, 0)
        clock.advance(3600)
    faults.install(None)
    assert manager.cleanup() == 1


def test_nothing_is_claimed_from_a_volume_without_its_directory(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    paths = create(manager, 3)
    clock.advance(3600)
    base_dir.rename(base_dir.with_name("away"))
    for force in (False, True):
        with pytest.raises(VolumeUnavailable) as error:
            manager.cleanup(force=force)
        assert error.value.reason == "ENOENT"
    base_dir.mkdir()
    with pytest.raises(VolumeUnavailable):
        manager.cleanup()
    stats = manager.stats()
    assert (stats.due, stats.leased, stats.total("claimed")) == (3, 0, 0)
    base_dir.rmdir()
    base_dir.with_name("away").rename(base_dir)
    assert manager.cleanup() == 3
    assert left(paths) == 0


# -- force


def test_force_deletes_files_that_are_not_due_except_held_and_dead_ones(
    make_manager: MakeManager, base_dir: Path, clock: FakeClock, at_each_file: AtEachFile
) -> None:
    manager = make_manager(max_attempts=1)
    dead = write(base_dir, "dead")
    manager.register(dead, ttl=1)
    clock.advance(1)
    at_each_file(fails_with(errno.EACCES))
    manager.cleanup()
    faults.install(None)
    paths = create(manager, 5)
    held = create(manager, 2)
    manager.hold(held[0])
    manager.hold(held[1], seconds=60)
    assert manager.cleanup(force=True) == 5
    assert (left(paths), left(held), left([dead])) == (0, 2, 1)
    clock.advance(60)
    assert manager.clear_all() == 1
    assert manager.is_temp_file(held[0])
    assert_balanced(manager)


def test_force_deletes_only_files_registered_before_it_began(
    make_manager: MakeManager, base_dir: Path, clock: FakeClock, at_each_file: AtEachFile
) -> None:
    manager, other = make_manager(batch_size=10), make_manager()
    create(manager, 150)
    late: list[Path] = []

    def register_more() -> None:
        clock.advance(0.001)
        if len(late) < 100:
            late.append(write(base_dir, f"late-{len(late)}"))
            other.register(late[-1])

    at_each_file(register_more)
    assert manager.clear_all() == 150
    assert left(late) == len(late) == 100
    assert len(manager.files) == 100


def test_force_tries_each_file_at_most_once(
    make_manager: MakeManager, clock: FakeClock, at_each_file: AtEachFile
) -> None:
    manager = make_manager(batch_size=7)
    create(manager, 150)
    tries: Counter[str] = Counter()

    def refuse() -> None:
        tries["all"] += 1
        clock.advance(10)  # all are due again
        fails_with(errno.EBUSY)()

    at_each_file(refuse)
    report = manager.cleanup_report(force=True)
    assert (report.counts[Outcome.BUSY], tries["all"]) == (150, 150)
    assert manager.stats().waiting == 150


def test_a_path_that_is_listed_twice_is_tried_once(
    manager: TempFileManager, clock: FakeClock, at_each_file: AtEachFile
) -> None:
    """A scan of Redis may return a path twice, and a file that stays can be claimed again at once."""
    [path] = create(manager, 1)
    at_each_file(fails_with(errno.EBUSY))
    page = [str(path.resolve())]
    report = manager.cleaner.clean_paths([page, page], Cause.FORCED, until_ms=clock.now_ms)
    assert (report.counts[Outcome.BUSY], report.batches) == (1, 1)
    assert manager.stats().waiting == 1


# -- preview


def test_a_preview_shows_the_bytes_that_a_directory_frees(manager: TempFileManager, base_dir: Path) -> None:
    named, made = base_dir / "named", manager.create_dir()
    for n, at in enumerate((named, named / "deep", Path(made.path))):
        at.mkdir(exist_ok=True)
        (at / "file").write_bytes(bytes(100 * (n + 1)))
    manager.register(named, directory=True)
    promised = {deletion.path: deletion.freed_bytes for deletion in manager.preview(force=True)}
    assert promised == {str(named): 300, made.path: 300}
    assert manager.cleanup_report(force=True).freed_bytes == 600


@pytest.mark.parametrize("force", [False, True])
def test_a_preview_shows_what_the_clean_up_then_does_and_changes_nothing(
    make_manager: MakeManager, base_dir: Path, redis_client: redis.Redis, clock: FakeClock, force: bool
) -> None:
    manager = make_manager(max_attempts=1)
    for name in ("claimed", "held", "held-longer", "gone", "replaced", "replaced-by-directory", "due"):
        manager.register(write(base_dir, name))
    create(manager, 3)
    Path(create(manager, 1)[0]).unlink()
    clock.advance(3600)
    manager.registry.claim_paths([str(base_dir.resolve() / "claimed")], lease_ms=1, until_ms=clock.now_ms)
    manager.hold(base_dir / "held", seconds=0.5)
    manager.hold(base_dir / "held-longer", seconds=60)
    clock.advance(1)
    manager.create().close()
    manager.create().close()
    unmade = Path(create(manager, 1, ttl=0.001)[0])
    unmade.unlink()
    clock.advance(CREATION_SECONDS / 2)
    for name in ("gone", "replaced", "replaced-by-directory"):
        (base_dir / name).unlink()
    write(base_dir, "replaced", "other")
    (base_dir / "replaced-by-directory").mkdir()

    before, on_disk = snapshot(redis_client), tree(base_dir)
    promised = {deletion.path: deletion.outcome for deletion in manager.preview(force=force)}
    assert (snapshot(redis_client), tree(base_dir)) == (before, on_disk)

    was = {record.path: os.path.lexists(record.path) for record in manager.records()}
    report = manager.cleanup_report(force=force)
    assert Counter(promised.values()) == {outcome: n for outcome, n in report.counts.items() if n}
    deleted = {path for path, there in was.items() if there and not os.path.lexists(path)}
    assert deleted == {path for path, outcome in promised.items() if outcome is Outcome.DELETED}
    assert promised[str(base_dir.resolve() / "held")] is Outcome.DELETED
    assert promised[str(base_dir.resolve() / "claimed")] is Outcome.DELETED
    assert promised[str(unmade.resolve())] is Outcome.BUSY
    assert str(base_dir.resolve() / "held-longer") not in promised
    assert_balanced(manager)


# -- several at once

CLEANER = """
import sys
from tempfleet import TempFileManager
manager = TempFileManager(sys.argv[1], redis_url=sys.argv[2], host="web-1")
print("ready", flush=True)
sys.stdin.readline()
print(manager.cleanup(force=True))
"""


@pytest.mark.process
def test_cleaners_in_several_processes_never_count_a_file_twice(
    real_client: redis.Redis, real_server: EmbeddedServer, base_dir: Path
) -> None:
    settings = Settings.load(base_dir=str(base_dir), host="web-1", redis_url=real_server.unix_url)
    manager = TempFileManager(settings=settings, client=real_client, clock=server_clock)
    paths = create(manager, 300)
    cleaners = [python(CLEANER, base_dir, real_server.unix_url) for _ in range(3)]
    for cleaner in cleaners:
        assert cleaner.stdout is not None
        assert cleaner.stdout.readline() == "ready\n"
    for cleaner in cleaners:
        assert cleaner.stdin is not None
        cleaner.stdin.write("\n")
        cleaner.stdin.flush()
    counts = [int(cleaner.communicate(timeout=30)[0]) for cleaner in cleaners]
    assert sum(counts) == 300
    assert left(paths) == 0
    assert manager.stats().total("deleted") == 300
    assert_balanced(manager)
    manager.close()


@pytest.mark.parametrize("directory", [False, True])
def test_a_file_that_a_killed_process_had_moved_is_deleted_although_its_path_was_reused(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path, directory: bool
) -> None:
    manager, path = make_manager(), base_dir / "name"
    if directory:
        (path / "sub").mkdir(parents=True)
    else:
        path.touch()
    manager.register(path, ttl=5, directory=directory)
    clock.advance(6)
    _die_with_a_file_in_hand(manager)
    assert not path.exists()
    path.write_text("another")
    manager.register(path, ttl=60)
    clock.advance(2)
    later = make_manager()
    assert later.cleanup() == 0
    assert path.read_text() == "another"
    make_manager().cleanup()  # no file is left, so its journal is removed
    assert sorted(os.listdir(later.roots.base.private.path)) == ["audit.log", "clock.json"]
    assert (later.stats().waiting, later.stats().total("replaced"), later.stats().imbalance) == (1, 1, 0)


def test_a_file_of_an_interrupted_deletion_is_deleted_although_its_path_was_reused(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    manager, path = make_manager(), base_dir / "name"
    path.mkdir(parents=True)
    for n in range(10):
        (path / f"{n}").touch()
    manager.register(path, ttl=5, directory=True)
    clock.advance(6)
    claim = manager.registry.claim(limit=1, lease_ms=1000)
    budget = iter([True] * 5)
    left = manager.cleaner.deleter.delete(
        claim.records, token=claim.token, may_go_on=lambda: next(budget, False)
    )
    assert list(left) == [] and not path.exists()
    manager.registry.nack(claim.token, [Nack(str(path), counts=False)])
    path.write_text("another")
    manager.register(path, ttl=60)
    later = make_manager()
    assert later.cleanup() == 0
    assert path.read_text() == "another"
    make_manager().cleanup()
    assert sorted(os.listdir(later.roots.base.private.path)) == ["audit.log", "clock.json"]


def test_a_file_that_a_killed_process_had_moved_stays_if_no_record_replaced_it(
    make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    manager, path = make_manager(), base_dir / "name"
    path.write_text("first")
    manager.register(path, ttl=5)
    clock.advance(6)
    _die_with_a_file_in_hand(manager)
    manager.store.client.flushall()
    path.write_text("another")
    make_manager().cleanup()
    assert len(manager.roots.base.private.entries()) == 1
    path.unlink()
    make_manager().cleanup()
    assert path.read_text() == "first"


def _die_with_a_file_in_hand(manager: TempFileManager) -> None:
    """Like a worker that is killed between the move and the unlink."""
    claim = manager.registry.claim(limit=1, lease_ms=1000)

    def die(point: str) -> None:
        if point == "guarded.compared":
            os.kill(os.getpid(), signal.SIGKILL)

    def child() -> None:
        faults.install(die)
        list(manager.cleaner.deleter.delete(claim.records, token=claim.token, may_go_on=lambda: True))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
