"""The health check: the specification's dictionary, with a reason for each problem."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tempfleet import State, TempFileManager
from tempfleet.embedded import EmbeddedServer
from tempfleet.monitoring.assembly import host_checks
from tempfleet.records import NewFile
from tempfleet.registry.clock import FleetClock
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.values import Nack
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]


def test_a_volume_without_problems_is_healthy_and_reports_its_counts(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    Fleet(manager.store).heartbeat("web-1")
    with manager.create(ttl=10) as file:
        file.write(b"1234")
        clock.advance(10)
        before = time.time()
        health = manager.health_check()
    assert before <= health.pop("timestamp") <= time.time()
    assert health == {
        "status": "healthy",
        "base_dir": str(base_dir),
        "max_age": 3600,
        "host": "web-1",
        "active_files": 1,
        "due": 1,
        "dead": 0,
        "bytes": 0,
    }


def test_without_its_directory_a_volume_is_unhealthy(manager: TempFileManager, base_dir: Path) -> None:
    base_dir.rmdir()
    health = manager.health_check()
    assert (health["status"], health["error"]) == ("unhealthy", "Base directory not accessible: ENOENT")
    base_dir.mkdir()
    assert manager.health_check()["error"] == "Base directory not accessible: replaced"


def test_without_redis_a_volume_is_unhealthy_and_nothing_is_raised(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path / "server") as server:
        manager = TempFileManager(tmp_path / "base", redis_url=server.unix_url)
        assert manager.health_check()["status"] == "healthy"
    health = manager.health_check()
    assert health["status"] == "unhealthy"
    assert "gave no answer" in health["error"]
    manager.close()


def test_a_redis_that_may_evict_is_unhealthy_also_if_it_is_changed_later(
    real_client: redis.Redis, base_dir: Path
) -> None:
    manager = TempFileManager(base_dir, client=real_client)
    assert manager.cleanup() == 0
    real_client.config_set("maxmemory-policy", "allkeys-random")
    try:
        health = manager.health_check()
        assert (health["status"], "allkeys-random" in health["error"]) == ("unhealthy", True)
    finally:
        real_client.config_set("maxmemory-policy", "noeviction")
    manager.close()


def test_a_missing_extra_root_is_degraded(make_manager: MakeManager, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir(mode=0o700)
    manager = make_manager(allowed_roots=(str(more),))
    assert manager.health_check()["status"] == "healthy"
    more.rmdir()
    health = manager.health_check()
    assert health["status"] == "degraded"
    assert [problem["text"] for problem in health["problems"]] == [
        f"Root {os.path.realpath(more)} is unavailable: ENOENT"
    ]
    never_there = make_manager(allowed_roots=(str(more),)).health_check()
    assert never_there["problems"] == health["problems"]


def test_dead_letters_are_degraded(manager: TempFileManager, clock: FakeClock) -> None:
    manager.create(ttl=1).close()
    clock.advance(1)
    claim = manager.registry.claim(limit=1, lease_ms=1000)
    manager.registry.nack(claim.token, [Nack(claim.records[0].path, bury=True, reason="EACCES")])
    assert [record.state for record in manager.records()] == [State.DEAD]
    health = manager.health_check()
    assert (health["status"], health["dead"]) == ("degraded", 1)
    assert "1 file could not be deleted" in health["warning"]


def test_a_jump_of_the_clock_is_degraded_until_it_is_accepted(manager: TempFileManager) -> None:
    manager.create(ttl=1).close()
    clock = FleetClock(manager.store)
    clock.change(clock.jumps(), jumped_ms=360_000, slack_ms=360_000)
    clock.copy(clock.jumps(), [manager.volume])
    health = manager.health_check()
    assert health["status"] == "degraded"
    assert "Redis's clock jumped ahead: deadlines pass 6 min later" in health["warning"]
    assert manager.accept_clock() == 360
    assert manager.health_check()["status"] == "healthy"


def test_files_that_stay_overdue_are_degraded(make_manager: MakeManager, clock: FakeClock) -> None:
    manager = make_manager(timer_interval_seconds=10)
    manager.cleanup()
    manager.create(ttl=1).close()
    clock.advance(31)
    assert manager.health_check()["status"] == "healthy"
    clock.advance(1)
    health = manager.health_check()
    (problem,) = health["problems"]
    assert (health["status"], problem["code"]) == ("degraded", "overdue")
    assert problem["text"] == "Files are overdue by 31 s"
    manager.cleanup()
    assert manager.health_check()["status"] == "healthy"


def test_counts_that_do_not_balance_are_degraded(manager: TempFileManager, redis_client: redis.Redis) -> None:
    manager.registry.register([NewFile(str(Path(manager.base_dir) / "x"), ttl_ms=1000)])
    redis_client.delete(f"tempfleet:{{{manager.volume}}}:registry", f"tempfleet:{{{manager.volume}}}:records")
    health = manager.health_check()
    assert health["status"] == "degraded"
    assert "do not balance by 1" in health["warning"]


def test_a_replaced_file_is_a_note_and_does_not_degrade_health(
    manager: TempFileManager, base_dir: Path
) -> None:
    path = base_dir / "file"
    path.touch()
    manager.register(path)
    path.unlink()
    path.mkdir()
    assert manager.clear_all() == 0
    health = manager.health_check()
    assert health["status"] == "healthy"
    assert health["notes"] == ["1 name was re-used for other files, which were kept"]


@pytest.mark.parametrize("key", ["status", "base_dir", "max_age", "host", "timestamp"])
def test_some_keys_are_always_there(manager: TempFileManager, base_dir: Path, key: str) -> None:
    assert key in manager.health_check()
    base_dir.rmdir()
    assert key in manager.health_check()


def test_files_of_a_host_that_no_worker_serves_are_degraded_in_a_fleet(
    manager: TempFileManager, clock: FakeClock
) -> None:
    fleet = Fleet(manager.store)
    manager.create(ttl=600).close()
    assert manager.health_check()["status"] == "healthy"  # no fleet: the library cleans for itself
    fleet.heartbeat("web-2")
    report = manager.health_check()
    assert report["status"] == "degraded"
    assert "No worker of host web-1 is live (live: web-2)" in report["warning"]
    fleet.heartbeat("web-1")
    assert manager.health_check()["status"] == "healthy"


def test_a_directory_without_write_permission_is_reported_before_a_deletion(
    make_manager: MakeManager,
) -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as open_to_all:
        os.chmod(open_to_all, 0o755)
        manager = make_manager(Path(open_to_all) / "base")
        assert manager.roots.no_rights() == ""
        os.chmod(manager.base_dir, 0o555)
        try:
            if user == 0:
                os.seteuid(65534)
            health, ready = manager.health_check(), host_checks(manager, Fleet(manager.store))
        finally:
            os.seteuid(user)
        os.chmod(manager.base_dir, 0o700)
    assert health["status"] == "degraded"
    assert "Nothing can be deleted" in health["warning"] and "run as its owner" in health["warning"]
    assert "may not write" in ready["base_dir"]
