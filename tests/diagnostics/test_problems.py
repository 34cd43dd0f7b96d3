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


CAUSES: dict[str, tuple[str, Cause]] = {
    "silent host": ("silent-host", silent),
    "silent host without a due file": ("silent-host", silent_but_not_due),
    "host without a worker": ("no-worker", other_host),
    "overdue": ("overdue", overdue),
    "not served": ("not-served", not_served),
    "no sweep": ("no-sweep", no_sweep),
    "imbalance": ("imbalance", imbalance),
    "clock": ("clock", jumped),
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
