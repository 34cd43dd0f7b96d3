"""Files near their expiry: a plug-in gets each at least once, and exactly once if nothing fails."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from conftest import MakeManager
from support import Packages
from tempfleet import TempFileManager
from tempfleet.plugins import near_expiry as announcer
from tempfleet.plugins.circuit_breaker import FAILURES
from tempfleet.plugins.near_expiry import Announcer
from tempfleet.testing import FakeClock

LISTENER = """
    from tempfleet.plugins import hookimpl

    batches = []
    well = True

    @hookimpl
    def tempfleet_near_expiry(files):
        if not well:
            raise ConnectionError("nobody there")
        batches.append([file.path for file in files])
"""


def announcer_of(manager: TempFileManager) -> Announcer:
    return Announcer(manager.registry, manager.cleaner.hooks)


def create(manager: TempFileManager, ttl: float) -> str:
    with manager.create(ttl=ttl).file as file:
        return str(file.name)


@pytest.fixture
def listening(packages: Packages, make_manager: MakeManager) -> TempFileManager:
    packages.install("listener", LISTENER)
    return make_manager()


def test_a_file_is_announced_once_after_80_percent_of_its_life(
    listening: TempFileManager, clock: FakeClock, packages: Packages, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    short, long = create(listening, 100), create(listening, 1000)
    announce = announcer_of(listening).announce
    clock.advance(80)
    assert announce() == 0
    clock.advance(1)
    assert (announce(), announce()) == (1, 0)
    clock.advance(720)
    assert (announce(), announce()) == (1, 0)
    assert packages.module("listener").batches == [[short], [long]]
    assert caplog.text.count("1 temporary files in") == 2


def test_a_renewed_file_is_announced_again(
    listening: TempFileManager, clock: FakeClock, packages: Packages
) -> None:
    path = create(listening, 100)
    announce = announcer_of(listening).announce
    clock.advance(90)
    assert announce() == 1
    listening.renew(path, ttl=100)
    assert announce() == 0
    clock.advance(90)
    assert announce() == 1
    assert packages.module("listener").batches == [[path], [path]]


def test_another_process_announces_again(listening: TempFileManager, clock: FakeClock) -> None:
    create(listening, 100)
    clock.advance(90)
    assert [announcer_of(listening).announce() for _ in range(2)] == [1, 1]


def test_files_that_a_listener_failed_to_accept_are_announced_again(
    listening: TempFileManager, clock: FakeClock, packages: Packages
) -> None:
    create(listening, 100)
    announce = announcer_of(listening).announce
    clock.advance(90)
    assert announce() == 1
    packages.module("listener").batches.clear()
    create(listening, 0.001)
    clock.advance(1)
    packages.module("listener").well = False
    assert (announce(), announce()) == (1, 1)
    packages.module("listener").well = True
    assert (announce(), announce()) == (1, 0)
    assert len(packages.module("listener").batches) == 1


def test_a_listener_that_is_switched_off_shows_in_health_and_deletion_goes_on(
    listening: TempFileManager, clock: FakeClock, packages: Packages
) -> None:
    path = create(listening, 100)
    announce = announcer_of(listening).announce
    clock.advance(90)
    announce()
    packages.module("listener").well = False
    create(listening, 10)
    clock.advance(9)
    for _ in range(FAILURES):
        announce()
    health = listening.health_check()
    assert health["status"] == "degraded"
    assert (
        "listener is switched off (near_expiry: ConnectionError: nobody there): it is not called"
        in health["warning"]
    )
    clock.advance(60)
    assert listening.cleanup() == 2
    assert not Path(path).exists()


def test_held_files_and_files_in_quarantine_do_not_expire(
    make_manager: MakeManager, clock: FakeClock
) -> None:
    manager = make_manager(quarantine_seconds=1000)
    held, aside = create(manager, 100), create(manager, 10)
    manager.hold(held)
    clock.advance(10)
    assert announcer_of(manager).announce() == 1
    assert manager.cleanup_report().set_aside == 1
    clock.advance(950)
    assert announcer_of(manager).announce() == 0
    assert not Path(aside).exists()


def test_the_number_of_files_read_and_remembered_is_bounded(
    listening: TempFileManager, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, packages: Packages
) -> None:
    monkeypatch.setattr(announcer, "MOST_READ", 3)
    first, then = [create(listening, 100) for _ in range(3)], create(listening, 101)
    announcing = announcer_of(listening)
    clock.advance(90)
    assert (announcing.announce(), announcing.announce(), len(announcing._announced)) == (3, 0, 3)
    listening.unregister(first[0])
    assert (announcing.announce(), announcing.announce(), len(announcing._announced)) == (1, 0, 3)
    assert packages.module("listener").batches[-1] == [then]
