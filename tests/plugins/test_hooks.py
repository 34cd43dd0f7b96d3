"""Plug-ins in a clean-up: vetoed files stay, failures are contained, and health reports them."""

from __future__ import annotations

import errno
import json
import logging
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MakeManager
from support import Packages, assert_balanced, python, snapshot, tree, wait_until
from tempfleet import CleanupReport, Outcome, QuotaExceeded, Settings, State, TempFileManager
from tempfleet.deletion import failpoints as faults
from tempfleet.embedded import EmbeddedServer
from tempfleet.plugins.circuit_breaker import COOL_DOWN_SECONDS, FAILURES
from tempfleet.plugins.plugin import installed
from tempfleet.testing import FakeClock

GUARD = """
    from tempfleet.plugins import hookimpl

    batches, deleted, failures = [], [], []

    @hookimpl
    def tempfleet_before_delete(files):
        batches.append([file.path for file in files])
        return [file.path for file in files if "legal" in file.tags]

    @hookimpl
    def tempfleet_after_delete(deletions):
        deleted.extend(deletions)

    @hookimpl
    def tempfleet_on_failure(deletions):
        failures.extend(deletions)
"""

BROKEN = """
    from tempfleet.plugins import hookimpl

    calls = []
    well = False

    @hookimpl
    def tempfleet_before_delete(files):
        calls.append(len(files))
        if not well:
            raise ConnectionError("no database")
"""

HANGING = """
    import threading
    from tempfleet.plugins import hookimpl

    calls = []
    gate = threading.Event()

    @hookimpl
    def tempfleet_before_delete(files):
        calls.append(threading.get_ident())
        gate.wait(60)
"""


def files(manager: TempFileManager, count: int, **kwargs: object) -> list[Path]:
    paths = []
    for _ in range(count):
        with manager.create(**{"ttl": 10, **kwargs}).file as file:  # type: ignore[arg-type]
            file.write(b"x" * 10)
            paths.append(Path(file.name))
    return paths


def there(paths: list[Path]) -> int:
    return sum(path.exists() for path in paths)


def later(clock: FakeClock, manager: TempFileManager, seconds: float = 7200) -> CleanupReport:
    """Clean up when every retry is due."""
    clock.advance(seconds)
    return manager.cleanup_report()


@pytest.fixture
def let_go(packages: Packages) -> Iterator[None]:
    """Ends every hanging call when the test ends."""
    yield
    packages.module("hanging").gate.set()


@pytest.fixture
def one_refusal() -> Iterator[None]:
    """The system refuses to delete the first file."""
    refusals = [PermissionError(errno.EACCES, "denied")]

    def refuse(point: str) -> None:
        if point.endswith(".found") and refusals:
            raise refusals.pop()

    faults.install(refuse)
    yield
    faults.install(None)


# -- vetoes


def test_vetoed_files_are_kept_and_the_others_are_deleted(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    packages.install("guard", GUARD)
    manager = make_manager()
    legal, other = files(manager, 3, tags=["legal"]), files(manager, 4)
    clock.advance(10)
    report = manager.cleanup_report()
    assert (report.deleted, report.counts[Outcome.BUSY]) == (4, 3)
    assert {deletion.reason for deletion in report.latest if deletion.path in map(str, legal)} == {
        "veto:guard"
    }
    assert (there(legal), there(other)) == (3, 0)
    record = manager.get_record(legal[0])
    assert record is not None
    assert (record.state, record.attempts, record.last_error) == (State.WAITING, 0, "veto:guard")
    assert manager.stats().totals_of("kept") == {"veto:guard": 3}
    assert_balanced(manager)


def test_a_veto_never_makes_a_dead_letter(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    packages.install("guard", GUARD)
    manager = make_manager(max_attempts=1)
    legal = files(manager, 1, tags=["legal"])
    for _ in range(5):
        later(clock, manager)
    assert (there(legal), manager.stats().dead, len(packages.module("guard").batches)) == (1, 0, 5)
    assert manager.health_check()["status"] == "healthy"


@pytest.mark.parametrize("code", [GUARD, BROKEN])
def test_the_record_of_a_vetoed_file_is_dropped_only_when_the_file_is_gone(
    packages: Packages, make_manager: MakeManager, clock: FakeClock, code: str
) -> None:
    packages.install("guard", code)
    manager = make_manager()
    gone, stays = files(manager, 2, tags=["legal"])
    later(clock, manager)
    assert manager.stats().waiting == 2
    gone.unlink()
    report = later(clock, manager)
    assert (report.counts[Outcome.MISSING], report.counts[Outcome.BUSY], stays.exists()) == (1, 1, True)
    assert [record.path for record in manager.records()] == [str(stays)]
    assert_balanced(manager)


def test_hooks_are_called_once_a_batch(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    packages.install("guard", GUARD)
    manager = make_manager(batch_size=10)
    files(manager, 25)
    clock.advance(10)
    manager.cleanup()
    module = packages.module("guard")
    assert list(map(len, module.batches)) == [10, 10, 5]
    assert len(module.deleted) == 25


def test_a_veto_of_one_plug_in_is_enough(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    packages.install("a_easy", GUARD.replace('"legal" in file.tags', "False"))
    packages.install("guard", GUARD)
    packages.install("z_easy", GUARD.replace('"legal" in file.tags', "False"))
    manager = make_manager()
    legal = files(manager, 1, tags=["legal"])
    later(clock, manager)
    assert there(legal) == 1


def test_plug_ins_are_asked_whoever_deletes(packages: Packages, make_manager: MakeManager) -> None:
    packages.install("guard", GUARD)
    manager = make_manager()
    with manager.create(tags=["legal"]) as file:
        pass
    with manager.create_dir(tags=["legal"]) as directory:
        pass
    assert manager.clear_all() == 0
    with manager:
        own = files(manager, 1, tags=["legal"])
    assert there([Path(file.path), Path(directory.path), *own]) == 3
    assert manager.stats().waiting == 3


def test_plug_ins_are_asked_before_files_make_room(packages: Packages, make_manager: MakeManager) -> None:
    packages.install("guard", GUARD)
    manager = make_manager(max_files=20, quota="evict")
    legal = files(manager, 20, tags=["legal"])
    with pytest.raises(QuotaExceeded):
        manager.create(tags=["legal"])
    assert there(legal) == 20


def test_plug_ins_are_asked_before_files_are_quarantined(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    packages.install("guard", GUARD)
    manager = make_manager(quarantine_seconds=60)
    legal, other = files(manager, 1, tags=["legal"]), files(manager, 1)
    report = later(clock, manager, 10)
    assert (report.set_aside, report.deleted, there(legal), there(other)) == (1, 0, 1, 0)
    assert packages.module("guard").deleted == []
    later(clock, manager, 61)
    (deletion,) = packages.module("guard").deleted
    assert deletion.record.is_quarantined


def test_a_veto_is_a_line_of_the_audit_log(
    packages: Packages, make_manager: MakeManager, clock: FakeClock, tmp_path: Path
) -> None:
    packages.install("guard", GUARD)
    manager = make_manager(audit_log=str(tmp_path / "audit"))
    (legal,) = files(manager, 1, tags=["legal"])
    later(clock, manager)
    (line,) = map(json.loads, (tmp_path / "audit").read_text().splitlines())
    assert (line["path"], line["outcome"], line["reason"]) == (str(legal), "busy", "veto:guard")


def test_a_dry_run_shows_vetoes_and_changes_nothing(
    packages: Packages, make_manager: MakeManager, clock: FakeClock, base_dir: Path
) -> None:
    packages.install("guard", GUARD)
    manager = make_manager()
    (legal,), (other,) = files(manager, 1, tags=["legal"]), files(manager, 1)
    clock.advance(10)
    before = snapshot(manager.store.client), tree(base_dir)
    previews = {deletion.path: (deletion.outcome, deletion.reason) for deletion in manager.preview()}
    assert previews == {str(legal): (Outcome.BUSY, "veto:guard"), str(other): (Outcome.DELETED, "")}
    assert (snapshot(manager.store.client), tree(base_dir)) == before
    assert "because the plug-in guard wants it kept" in str(manager.explain(legal))
    assert "it will be deleted" in str(manager.explain(other))


# -- listeners


def test_listeners_get_the_deleted_files_and_the_failures(
    packages: Packages, make_manager: MakeManager, clock: FakeClock, one_refusal: None
) -> None:
    packages.install("guard", GUARD)
    manager = make_manager()
    paths = files(manager, 2)
    later(clock, manager)
    module = packages.module("guard")
    (deletion,), (failure,) = module.deleted, module.failures
    assert (deletion.outcome, failure.outcome, failure.reason) == (Outcome.DELETED, Outcome.FAILED, "EACCES")
    assert {Path(deletion.path), Path(failure.path)} == set(paths)
    assert not Path(deletion.path).exists()


def test_a_listener_that_fails_changes_no_outcome(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    packages.install("guard", GUARD.replace("deleted.extend(deletions)", "raise OSError('disk full')"))
    manager = make_manager(batch_size=1)
    paths = files(manager, FAILURES + 2)
    report = later(clock, manager)
    assert (report.deleted, there(paths)) == (FAILURES + 2, 0)
    stats = manager.stats()
    assert stats.totals_of("plugin_failed") == {"guard.after_delete": FAILURES}
    health = manager.health_check()
    assert health["status"] == "degraded"
    assert (
        "Plug-in guard is switched off (after_delete: OSError: disk full): it is not called"
        in health["warning"]
    )


# -- failing closed


def test_the_batch_of_a_plug_in_that_raises_is_kept_whole(
    packages: Packages, make_manager: MakeManager, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    packages.install("broken", BROKEN)
    manager = make_manager()
    paths = files(manager, 3)
    report = later(clock, manager)
    assert (report.deleted, report.counts[Outcome.BUSY], there(paths)) == (0, 3, 3)
    assert {deletion.reason for deletion in report.latest} == {"plug-in:broken"}
    assert manager.stats().totals_of("plugin_failed") == {"broken.before_delete": 1}
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "Plug-in broken.before_delete failed: ConnectionError: no database" in error.getMessage()
    assert_balanced(manager)


def test_a_plug_in_that_does_not_load_keeps_all_files(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    packages.install("broken", "import no_such_module")
    manager = make_manager()
    paths = files(manager, 3)
    assert later(clock, manager).deleted == 0
    assert there(paths) == 3


def test_a_named_plug_in_that_is_missing_keeps_all_files(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    manager = make_manager(plugins="legal")
    paths = files(manager, 1)
    assert later(clock, manager).deleted == 0
    assert there(paths) == 1
    assert make_manager(plugins="off").clear_all() == 1


def test_a_plug_in_that_is_switched_off_is_not_called_keeps_its_files_and_degrades_health(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    packages.install("broken", BROKEN)
    manager = make_manager()
    paths = files(manager, 1)
    for _ in range(FAILURES - 1):
        later(clock, manager)
    assert manager.health_check()["status"] == "healthy"
    for _ in range(3):
        later(clock, manager)
    assert len(packages.module("broken").calls) == FAILURES
    assert there(paths) == 1
    health = manager.health_check()
    assert health["status"] == "degraded"
    assert [problem["text"] for problem in health["problems"]] == [
        "Plug-in broken is switched off (before_delete: ConnectionError: no database): files that it decides "
        "about are kept (unless TEMP_FILE_PLUGIN_FAILED=go-on)"
    ]
    assert manager.stats().totals_of("plugin_failed") == {"broken.before_delete": FAILURES}
    assert manager.stats().dead == 0


def test_another_process_reads_the_failure_from_the_registry_until_it_expires(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    packages.install("broken", BROKEN)
    manager = make_manager(timer_interval_seconds=10)
    files(manager, 1)
    for _ in range(FAILURES):
        later(clock, manager)
    other = make_manager(plugins="off")
    assert [note.plugin for note in other.stats().plugins_off] == ["broken"]
    for _ in range(10):
        clock.advance(10)
        manager.cleanup()  # like the timer of a worker; no file is due
        assert other.stats().plugins_off
    clock.advance(29)
    assert other.stats().plugins_off
    clock.advance(1)
    assert other.stats().plugins_off == []


def test_a_repaired_plug_in_is_tried_again_and_removed_from_the_registry(
    packages: Packages, make_manager: MakeManager, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.install("broken", BROKEN)
    manager = make_manager()
    paths = files(manager, 1)
    for _ in range(FAILURES):
        later(clock, manager)
    packages.module("broken").well = True
    (plugin,) = installed(manager.settings)
    now = plugin.breakers["before_delete"]._clock() + COOL_DOWN_SECONDS
    monkeypatch.setattr(plugin.breakers["before_delete"], "_clock", lambda: now)
    assert later(clock, manager).deleted == 1
    assert there(paths) == 0
    assert manager.health_check()["status"] == "healthy"


def test_a_new_process_in_which_it_works_removes_the_failure_of_the_old_one(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    packages.install("broken", BROKEN)
    manager = make_manager()
    files(manager, 1)
    for _ in range(FAILURES):
        later(clock, manager)
    packages.module("broken").well = True
    plugin_anew = make_manager(
        plugin_timeout_seconds=4
    )  # other settings load the plug-ins again, as after a restart
    clock.advance(7200)
    for _ in range(FAILURES):
        manager.registry.record_plugin(
            "broken.before_delete", failures=0, reason="recorded by the old one", hold_ms=60_000
        )
    assert plugin_anew.stats().plugins_off
    assert plugin_anew.cleanup() == 1
    assert plugin_anew.stats().plugins_off == []


def test_go_on_deletes_files_only_after_the_plug_in_is_switched_off(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    packages.install("broken", BROKEN)
    packages.install("guard", GUARD)
    manager = make_manager(plugin_failed="go-on")
    legal, other = files(manager, 1, tags=["legal"]), files(manager, 1)
    for _ in range(FAILURES - 1):
        later(clock, manager)
        assert (there(legal), there(other)) == (1, 1)
    later(clock, manager)
    assert (there(legal), there(other)) == (1, 0)


# -- hanging


def test_the_batch_of_a_plug_in_that_hangs_is_kept_and_no_more_threads_start(
    packages: Packages, make_manager: MakeManager, clock: FakeClock, let_go: None
) -> None:
    packages.install("hanging", HANGING)
    manager = make_manager(plugin_timeout_seconds=0.2)
    paths = files(manager, 2)
    for _ in range(FAILURES + 3):
        assert later(clock, manager).counts[Outcome.BUSY] == 2
    module = packages.module("hanging")
    assert (there(paths), len(module.calls)) == (2, 1)
    assert (
        "did not return" in manager.explain(paths[0]).as_dict()["if_due"]["reason"]
        or manager.health_check()["status"] == "degraded"
    )
    module.gate.set()


def test_the_lease_is_extended_while_a_hook_takes_longer(
    packages: Packages, make_manager: MakeManager, base_dir: Path
) -> None:
    slow = """
        import time
        from tempfleet.plugins import hookimpl

        @hookimpl
        def tempfleet_before_delete(files):
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                time.sleep(0.01)
    """
    packages.install("slow", slow)
    manager = TempFileManager(
        settings=make_manager(lease_seconds=0.4).settings, client=make_manager().store.client
    )
    paths = files(manager, 3, ttl=0.001)
    wait_until(lambda: manager.stats().due == 3)
    report = manager.cleanup_report()
    assert (report.deleted, report.lost, there(paths)) == (3, 0, 0)


def test_a_claim_that_was_lost_while_a_plug_in_was_asked_deletes_nothing(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    code = """
        from tempfleet.plugins import hookimpl

        meanwhile = []

        @hookimpl
        def tempfleet_before_delete(files):
            if meanwhile:
                return meanwhile.pop()()
            return [file.path for file in files]
    """
    packages.install("slow", code)
    manager = make_manager(lease_seconds=0.2)
    paths = files(manager, 2)
    list(manager.preview(force=True))

    def reaped() -> None:
        clock.advance(1)
        manager.registry.reap()
        threading.Event().wait(0.3)

    packages.module("slow").meanwhile.append(reaped)
    report = later(clock, manager, 10)
    assert (report.batches, report.deleted, report.lost, there(paths)) == (2, 0, 2, 2)
    assert_balanced(manager)


def test_a_stop_while_a_plug_in_is_asked_hands_all_files_back(
    packages: Packages, make_manager: MakeManager, clock: FakeClock
) -> None:
    stop = threading.Event()
    packages.install("guard", GUARD)
    manager = make_manager()
    paths = files(manager, 2)
    list(manager.preview(force=True))
    packages.module("guard").batches = Stopping(stop)
    clock.advance(10)
    report = manager.cleaner.clean_due(stop=stop)
    assert (report.deleted, report.handed_back, there(paths)) == (0, 2, 2)
    assert manager.stats().due == 2


class Stopping(list[object]):
    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop

    def append(self, item: object) -> None:
        self.stop.set()


CHILD = """
import signal, sys, time
from tempfleet import Settings, TempFileManager

settings = {{"base_dir": sys.argv[1], "redis_url": sys.argv[2], "lease_seconds": 0.5}}
manager = TempFileManager(settings=Settings.load(**settings, {more}))
for tags in (["legal"], []):
    file = manager.create(tags=tags)
    file.close()
    print(file.path, flush=True)
{then}
"""


@pytest.mark.process
@pytest.mark.parametrize("then", ["", "time.sleep(60)"])
def test_plug_ins_are_asked_at_the_end_of_a_process(
    packages: Packages, real_server: EmbeddedServer, real_client: object, base_dir: Path, then: str
) -> None:
    packages.install("guard", GUARD)
    code = CHILD.format(more="clear_on_shutdown=True", then=then)
    with python(code, base_dir, real_server.unix_url) as child:
        assert child.stdout is not None
        legal, other = (Path(child.stdout.readline().strip()) for _ in range(2))
        if then:
            child.terminate()
        assert child.wait(30) == (-signal.SIGTERM if then else 0)
    assert (legal.exists(), other.exists()) == (True, False)


@pytest.mark.process
def test_a_plug_in_that_ends_the_process_loses_nothing(
    packages: Packages, real_server: EmbeddedServer, real_client: object, base_dir: Path
) -> None:
    packages.install(
        "fatal", GUARD.replace("batches.append([file.path for file in files])", "__import__('os')._exit(9)")
    )
    code = CHILD.format(more="", then="manager.clear_all()")
    with python(code, base_dir, real_server.unix_url) as child:
        assert child.stdout is not None
        paths = [Path(child.stdout.readline().strip()) for _ in range(2)]
        assert child.wait(30) != 0
    assert there(paths) == 2
    manager = TempFileManager(base_dir, settings=Settings.load(redis_url=real_server.unix_url, plugins="off"))
    assert manager.stats().leased == 2
    wait_until(lambda: list(manager.registry.reapable_paths()))
    assert manager.clear_all() == 2
    assert_balanced(manager)
    manager.close()


def test_without_plug_ins_there_is_no_extra_thread_and_no_extra_round_trip(
    manager: TempFileManager, clock: FakeClock
) -> None:
    files(manager, 3)
    clock.advance(10)
    manager.cleaner.hooks.vetoes([])
    before = threading.active_count(), manager.store.round_trips
    manager.cleaner.hooks.notify_settled([])
    manager.cleaner.hooks.publish()
    assert (threading.active_count(), manager.store.round_trips) == before
    assert manager.cleanup() == 3
