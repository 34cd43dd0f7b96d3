"""One list of problems: health, doctor and the status page tell the same, with the same remedy."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from tempfleet import TempFileManager, Volume
from tempfleet.diagnostics.disk_problems import disk_problems
from tempfleet.diagnostics.finding import Level
from tempfleet.diagnostics.problem import Problem
from tempfleet.diagnostics.problems import KEEPING
from tempfleet.manager import serving
from tempfleet.monitoring.snapshot import take_snapshot
from tempfleet.records import NewFile
from tempfleet.registry.clock import FleetClock
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.keys import NOT_SERVED
from tempfleet.registry.pulse import Sweep
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]
Cause = Callable[[TempFileManager, FakeClock], None]


def file_registered(manager: TempFileManager, ttl_ms: int = 1000) -> None:
    manager.registry.register([NewFile(f"{manager.base_dir}/x", ttl_ms)])


def silent(manager: TempFileManager, clock: FakeClock) -> None:
    file_registered(manager)
    Fleet(manager.store).heartbeat("web-1")
    clock.advance(100)


def silent_but_not_due(manager: TempFileManager, clock: FakeClock) -> None:
    file_registered(manager, 1_000_000)
    Fleet(manager.store).heartbeat("web-1")
    clock.advance(100)


def other_host(manager: TempFileManager, clock: FakeClock) -> None:
    file_registered(manager)
    Fleet(manager.store).heartbeat("web-2")


def overdue(manager: TempFileManager, clock: FakeClock) -> None:
    manager.cleanup()
    file_registered(manager)
    clock.advance(200)


def not_served(manager: TempFileManager, clock: FakeClock) -> None:
    file_registered(manager)
    manager.registry.set_meta(NOT_SERVED, "outside-roots")


def nobody(manager: TempFileManager, clock: FakeClock) -> None:
    file_registered(manager)
    clock.advance(2)


def never_swept(manager: TempFileManager, clock: FakeClock) -> None:
    file_registered(manager, 10_000_000)
    fleet = Fleet(manager.store)
    fleet.heartbeat("web-1")
    clock.advance(901)
    fleet.heartbeat("web-1")


def full_disk(manager: TempFileManager, clock: FakeClock) -> None:
    full = SimpleNamespace(f_bavail=1, f_blocks=100, f_favail=1, f_files=1000)
    os.fstatvfs = os.statvfs = lambda _of: full  # type: ignore[assignment]


def no_sweep(manager: TempFileManager, clock: FakeClock) -> None:
    file_registered(manager, 10_000_000)
    fleet = Fleet(manager.store)
    fleet.record_sweep(Sweep("web-1", 0.1, 1, 0, 0, 0, 0))
    clock.advance(901)
    fleet.heartbeat("web-1")


def imbalance(manager: TempFileManager, clock: FakeClock) -> None:
    file_registered(manager)
    for name in ("registry", "records"):
        manager.store.client.delete(f"tempfleet:{{{manager.volume}}}:{name}")


def jumped(manager: TempFileManager, clock: FakeClock) -> None:
    file_registered(manager)
    jumps = FleetClock(manager.store)
    jumps.change(jumps.jumps(), jumped_ms=360_000, slack_ms=360_000)
    jumps.copy(jumps.jumps(), [manager.volume])


def thrown_away(manager: TempFileManager, clock: FakeClock) -> None:
    file_registered(manager, 10_000_000)
    fleet = Fleet(manager.store)
    fleet.heartbeat("web-1")
    fleet.record_rejected({"UnknownTask": 2, "FileMissing": 1})


def namesake(manager: TempFileManager, clock: FakeClock) -> None:
    quarantining = TempFileManager(
        settings=manager.settings.model_copy(update={"quarantine_seconds": 60.0}),
        client=manager.store.client,
        clock=clock,
    )
    quarantining.create().close()
    quarantining.clear_all()
    manager.store.client.flushall()
    quarantining.close()
    file_registered(manager)
    manager.cleanup()


CAUSES: dict[str, tuple[str, Cause]] = {
    "no worker ever": ("no-worker", nobody),
    "never swept": ("never-swept", never_swept),
    "disk without room": ("disk-full", full_disk),
    "silent host": ("silent-host", silent),
    "silent host without a due file": ("silent-host", silent_but_not_due),
    "host without a worker": ("no-worker", other_host),
    "overdue": ("overdue", overdue),
    "not served": ("not-served", not_served),
    "no sweep": ("no-sweep", no_sweep),
    "imbalance": ("imbalance", imbalance),
    "clock": ("clock", jumped),
    "messages thrown away": ("messages-thrown-away", thrown_away),
    "namesake": ("namesake", namesake),
}


def page_problems(manager: TempFileManager) -> list[Problem]:
    """What the page shows, as monitoring.assembly builds it."""
    snapshot = take_snapshot(
        Fleet(manager.store),
        manager.settings,
        disk_problems=disk_problems(manager.roots, manager.roots.check()),
    )
    return [*snapshot.problems]


def explained(manager: TempFileManager) -> str:
    return str(manager.explain(f"{manager.base_dir}/x"))


@pytest.mark.parametrize("name", CAUSES)
def test_health_doctor_and_the_page_tell_the_same_problem_with_the_same_remedy(
    name: str, manager: TempFileManager, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # full_disk replaces them; restored after the test
    monkeypatch.setattr(os, "fstatvfs", os.fstatvfs)
    monkeypatch.setattr(os, "statvfs", os.statvfs)
    code, cause = CAUSES[name]
    cause(manager, clock)
    health = manager.health_check()
    in_health = next(problem for problem in health["problems"] if problem["code"] == code)
    text, todo = in_health["text"], in_health["todo"]
    assert health["status"] == "degraded"
    assert text and todo
    assert (text, todo) in [(problem.text, problem.todo) for problem in page_problems(manager)]
    findings = [finding for finding in manager.examine() if (finding.said, finding.todo) == (text, todo)]
    assert findings and Level.OK not in {finding.level for finding in findings}
    if code in KEEPING:
        assert f"{text}. {todo}" in explained(manager)


def thrown_away_problem(manager: TempFileManager) -> str:
    problems = manager.health_check().get("problems", [])
    return "".join(problem["text"] for problem in problems if problem["code"] == "messages-thrown-away")


def test_messages_that_were_thrown_away_are_shown_for_a_day_with_their_reasons(
    manager: TempFileManager, clock: FakeClock
) -> None:
    fleet = Fleet(manager.store)
    fleet.record_rejected({"UnknownTask": 2, "Expired": 1})
    clock.advance(3600)
    fleet.record_rejected({"UnknownTask": 1})
    assert "4 messages were thrown away" in thrown_away_problem(manager)
    assert "(Expired 1, UnknownTask 3)" in thrown_away_problem(manager)
    clock.advance(86_400 - 3600)
    assert "(UnknownTask 3)" in thrown_away_problem(manager)
    clock.advance(3600)
    assert thrown_away_problem(manager) == ""
    fleet.record_rejected({"UnknownTask": 1})
    assert "1 message was thrown away" in thrown_away_problem(manager)


def test_a_message_for_a_file_that_is_gone_is_no_problem(manager: TempFileManager) -> None:
    Fleet(manager.store).record_rejected({"FileMissing": 1, "NotRegistered": 1, "AlreadyClaimed": 1})
    assert thrown_away_problem(manager) == ""


def test_that_nobody_will_delete_is_told_before_the_first_file_is_due(
    manager: TempFileManager, clock: FakeClock
) -> None:
    file_registered(manager, 3_600_000)
    health = manager.health_check()
    (note,) = health["notes"]
    assert "No worker has ever run and no program has cleaned up" in note and "celery" in note
    assert health["status"] == "healthy", "a program may still clean up by itself"
    assert note in map(str, page_problems(manager))
    assert note in explained(manager)
    (finding,) = [finding for finding in manager.examine() if finding.check == "hosts"]
    assert (finding.level, f"{finding.said}. {finding.todo}") == (Level.WARNING, note)
    manager.cleanup()
    assert "notes" not in manager.health_check(), "this program cleans"


def test_that_nobody_will_delete_is_told_of_each_base_directory_of_a_host(
    make_manager: MakeManager, tmp_path: Path
) -> None:
    """A program that cleans one of its base directories does not clean the other one."""
    cleaned, other = make_manager(tmp_path / "cleaned"), make_manager(tmp_path / "other")
    for manager in (cleaned, other):
        file_registered(manager)
    cleaned.cleanup()
    assert "notes" not in cleaned.health_check()
    (note,) = other.health_check()["notes"]
    assert "; 1 file is registered" in note
    for manager in (cleaned, other):
        assert note in map(str, page_problems(manager))
        assert note in [f"{finding.said}. {finding.todo}" for finding in manager.examine()]


def test_explain_finds_a_file_that_a_program_registered_for_a_host_that_no_worker_has(
    make_manager: MakeManager, tmp_path: Path
) -> None:
    """The operator asks on the host of the worker, where TEMP_FILE_HOST is set."""
    program, worker = make_manager(host="typo"), make_manager(host="web-1")
    path = f"{program.base_dir}/x"
    assert explained(worker) == f"{path} is not registered, so nothing will happen to it."
    file_registered(program)
    Fleet(worker.store).heartbeat("web-1")
    text = explained(worker)
    assert f"{path} is not registered here.\nIt is registered on host typo in {program.base_dir}" in text
    assert "no worker of that host is known. Is TEMP_FILE_HOST right" in text
    Fleet(worker.store).heartbeat("typo")
    assert "so nothing will happen" in explained(worker), "the same path on another host is another file"
    beside = make_manager(tmp_path / "beside", host="web-1")
    beside.registry.register([NewFile(path, 1000)])
    assert f"tempfleet --base-dir {tmp_path}/beside explain" in explained(worker)


def test_the_doctor_tells_a_problem_of_a_host_once_whatever_the_number_of_its_volumes(
    make_manager: MakeManager, clock: FakeClock, tmp_path: Path
) -> None:
    managers = [make_manager(tmp_path / name) for name in ("a", "b")]
    for manager, ttl_ms in zip(managers, (1000, 1_000_000), strict=True):
        file_registered(manager, ttl_ms)
    Fleet(managers[0].store).heartbeat("web-1")
    clock.advance(100)
    for manager in managers:
        (finding,) = [finding for finding in manager.examine() if finding.check == "hosts"]
        assert "1 of its files is due" in finding.said
        assert f"{finding.said}. {finding.todo}" in map(str, page_problems(manager))


@pytest.mark.parametrize("name", ["web 7", "-x", "--yes", "a'b", "*", 'q"$HOME`', "a\\b", "$(x)"])
def test_the_commands_of_a_remedy_can_be_copied_whatever_the_name_of_the_host(
    name: str, make_manager: MakeManager, clock: FakeClock
) -> None:
    manager = make_manager(host=name)
    file_registered(manager, 1_000_000)
    (note,) = manager.health_check()["notes"]
    assert f"TEMP_FILE_HOST={name}" in shlex.split(
        note[note.index("TEMP_FILE_HOST") : note.index(" and the")]
    )
    Fleet(manager.store).heartbeat(name)
    clock.advance(100)
    (warning,) = manager.health_check()["warnings"]
    command = warning.rpartition("run ")[2].removesuffix(".")
    words = [word for word in shlex.split(command) if word != "--"]
    assert words == ["tempfleet", "hosts", "forget", name]
    forget = click.Command("forget", params=[click.Argument(["names"], nargs=-1), click.Option(["--yes"])])
    assert forget.make_context("", shlex.split(command)[3:]).params["names"] == (name,)


def test_a_worker_that_has_run_a_short_time_needs_no_sweep_yet(
    manager: TempFileManager, clock: FakeClock
) -> None:
    fleet = Fleet(manager.store)
    fleet.heartbeat("web-1")
    clock.advance(899)
    fleet.heartbeat("web-1")
    assert (fleet.pulse().swept_ms, fleet.sweeps()[1]) == (None, [])
    assert "problems" not in manager.health_check()
    fleet.record_sweep(Sweep("web-1", 0.1, 1, 0, 0, 0, 0))
    clock.advance(899)
    fleet.heartbeat("web-1")
    assert "problems" not in manager.health_check()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Without that of fakeredis, which has no INFO."""
    texts = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    return [text for text in texts if "Cannot read the maxmemory-policy" not in text]


@pytest.mark.parametrize("how", ["create", "register", "register_many"])
def test_a_program_with_a_host_name_that_no_worker_has_is_warned_once(
    how: str, make_manager: MakeManager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    managers = [make_manager(host=f"typo-{how}") for _ in range(2)]
    Fleet(managers[0].store).heartbeat("web-1")
    for manager in managers:
        path = Path(manager.base_dir) / "x"
        path.touch()
        for _ in range(2):
            if how == "create":
                manager.create().close()
            elif how == "register":
                manager.register(path)
            else:
                manager.register_many([path])
    (warning,) = warnings_of(caplog)
    assert f"No worker of host typo-{how} is live (live: web-1)" in warning
    assert "TEMP_FILE_HOST" in warning
    serving._warned.clear()


def test_a_program_whose_host_has_a_worker_or_without_a_fleet_is_not_warned(
    make_manager: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    make_manager(host="alone").create().close()
    fleet = Fleet(make_manager().store)
    fleet.heartbeat("web-1")
    make_manager().create().close()
    assert warnings_of(caplog) == []


def test_the_warning_costs_no_round_trip_at_the_start(make_manager: MakeManager) -> None:
    manager = make_manager(host="somebody")
    Fleet(manager.store).heartbeat("web-1")
    before = manager.store.round_trips
    manager.create().close()
    first = manager.store.round_trips - before
    other = make_manager(host="web-1")
    before = other.store.round_trips
    other.create().close()
    assert first == other.store.round_trips - before
    serving._warned.clear()


@pytest.mark.parametrize("volumes", [1, 40])
def test_the_list_costs_the_same_round_trips_whatever_the_number_of_volumes(
    volumes: int, make_manager: MakeManager, tmp_path: Path
) -> None:
    manager = make_manager()
    for i in range(volumes):
        Fleet(manager.store).registry(Volume(f"host-{i}", "/base")).register([NewFile("/base/x", 1000)])
    file_registered(manager)
    _ = manager.registry
    before = manager.store.round_trips
    manager.health_check()
    assert manager.store.round_trips - before == 3
    before = manager.store.round_trips
    take_snapshot(Fleet(manager.store), manager.settings)
    assert manager.store.round_trips - before == 6
