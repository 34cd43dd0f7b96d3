"""One list of problems: health, doctor and the status page tell the same, with the same remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from tempfleet import TempFileManager
from tempfleet.diagnostics.problems import Problem
from tempfleet.monitoring.snapshot import take_snapshot
from tempfleet.records import NewFile
from tempfleet.registry.clock import FleetClock
from tempfleet.registry.fleet import Fleet, Sweep
from tempfleet.registry.keys import NOT_SERVED
from tempfleet.testing import FakeClock

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
    file_registered(manager)
    clock.advance(200)


def not_served(manager: TempFileManager, clock: FakeClock) -> None:
    file_registered(manager)
    manager.registry.set_meta(NOT_SERVED, "outside-roots")


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


CAUSES: dict[str, tuple[str, Cause]] = {
    "silent host": ("silent-host", silent),
    "silent host without a due file": ("silent-host", silent_but_not_due),
    "host without a worker": ("no-worker", other_host),
    "overdue": ("overdue", overdue),
    "not served": ("not-served", not_served),
    "no sweep": ("no-sweep", no_sweep),
    "imbalance": ("imbalance", imbalance),
    "clock": ("clock", jumped),
    "messages thrown away": ("messages-thrown-away", thrown_away),
}


def page_problems(manager: TempFileManager) -> list[Problem]:
    return [*take_snapshot(Fleet(manager.store), manager.settings, missing_roots={}).problems]


@pytest.mark.parametrize("name", CAUSES)
def test_health_doctor_and_the_page_tell_the_same_problem_with_the_same_remedy(
    name: str, manager: TempFileManager, clock: FakeClock, redis_client: redis.Redis
) -> None:
    code, cause = CAUSES[name]
    cause(manager, clock)
    (in_health,) = [problem for problem in manager.health_check()["problems"] if problem["code"] == code]
    text, todo = in_health["text"], in_health["todo"]
    assert text and todo.endswith((".", "?", "ls."))
    assert (text, todo) in [(problem.text, problem.todo) for problem in page_problems(manager)]
    assert (text, todo) in [(finding.said, finding.todo) for finding in manager.examine()]


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
