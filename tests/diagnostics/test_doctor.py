"""The doctor finds problems, shows what to do about each, and changes nothing."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis

from support import as_nobody, console, console_env, python, snapshot
from tempfleet import TempFileManager
from tempfleet.diagnostics.disk_problems import percentage
from tempfleet.diagnostics.doctor import diagnose
from tempfleet.diagnostics.finding import Finding, Level
from tempfleet.diagnostics.open_files import processes_using
from tempfleet.embedded import EmbeddedServer
from tempfleet.formatting import size
from tempfleet.records import NewFile
from tempfleet.registry import forget
from tempfleet.registry.clock import FleetClock
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.keys import DISK, FULL
from tempfleet.registry.stats import PASSES
from tempfleet.registry.values import Nack
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]


def findings(manager: TempFileManager, check: str) -> list[Finding]:
    return [finding for finding in manager.examine() if finding.check == check]


def registered(manager: TempFileManager, name: str, ttl: float = 10) -> Path:
    path = Path(manager.base_dir) / name
    path.touch()
    manager.register(path, ttl=ttl)
    return path


def failed(manager: TempFileManager, clock: FakeClock, **how: object) -> None:
    """Every waiting file is due, and could not be deleted."""
    clock.advance(11)
    claim = manager.registry.claim(limit=10, lease_ms=60_000)
    manager.registry.nack(claim.token, [Nack(item.path, reason="EPERM", **how) for item in claim.records])  # type: ignore[arg-type]


def test_a_check_without_a_problem_needs_no_remedy(manager: TempFileManager, fleet: Fleet) -> None:
    registered(manager, "a")
    fleet.heartbeat("web-1")
    by_check = {finding.check: finding for finding in manager.examine()}
    assert {"permissions", "disk space", "registry", "balance", "leases", "hosts", "failures"} <= set(
        by_check
    )
    for check in ("permissions", "registry", "balance", "leases", "hosts", "failures"):
        assert (by_check[check].level, by_check[check].todo) == (Level.OK, ""), by_check[check]


def test_an_examination_changes_nothing(
    manager: TempFileManager, clock: FakeClock, redis_client: redis.Redis
) -> None:
    registered(manager, "a")
    failed(manager, clock, bury=True)
    before = snapshot(redis_client)
    manager.examine()
    assert snapshot(redis_client) == before


def test_a_root_in_which_every_user_may_rename_is_an_error(make_manager: MakeManager, tmp_path: Path) -> None:
    manager = make_manager(allowed_roots=(str(tmp_path / "open"), str(tmp_path / "gone")))
    (tmp_path / "open").mkdir()
    os.chmod(tmp_path / "open", 0o777)
    errors = [finding for finding in findings(manager, "permissions") if finding.level is Level.ERROR]
    assert ["every user may rename" in errors[0].said, "No such file" in errors[1].said] == [True, True]
    assert all(finding.todo for finding in errors)


def test_scarce_space_is_a_warning_and_exhausted_space_an_error(
    manager: TempFileManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = SimpleNamespace(f_bavail=5, f_blocks=100, f_favail=1, f_files=100)
    monkeypatch.setattr("os.statvfs", lambda _root: full)
    assert findings(manager, "disk space")[0].level is Level.WARNING
    assert findings(manager, "inodes")[0].level is Level.ERROR
    assert percentage("memory", 0.5, "of it", "do").todo == ""
    assert percentage("memory", -0.5, "of it", "do").said == "0% of it is free"


@pytest.mark.process
def test_a_dead_letter_is_reported_with_the_processes_that_use_it(
    manager: TempFileManager, clock: FakeClock
) -> None:
    path = registered(manager, "used")
    failed(manager, clock, bury=True)
    (alone,) = findings(manager, "failures")
    assert (alone.level, "immutable" in alone.said and "it is a dead letter" in alone.said) == (
        Level.ERROR,
        True,
    )
    with python("import sys; f = open(sys.argv[1]); print(1, flush=True); sys.stdin.read()", path) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert processes_using({str(path)})[str(path)][0].endswith(f"({process.pid})")
        (finding,) = findings(manager, "failures")
        process.communicate("")
    assert finding.level is Level.WARNING
    assert "open in python" in finding.said and f"({process.pid})" in finding.said
    assert processes_using({str(path)}) == {}
    assert processes_using({str(path)}, Path("/no/proc")) == {}


def test_a_file_that_waits_for_its_retry_is_reported_with_the_processes_that_use_it(
    manager: TempFileManager, clock: FakeClock
) -> None:
    path = registered(manager, "used")
    clock.advance(11)
    with path.open():
        assert manager.cleanup() == 0
        assert manager.stats().due == 0
        (finding,) = findings(manager, "failures")
    assert finding.level is Level.WARNING
    assert finding.said.startswith(f"{path} was kept at the last try (open); open in ")
    (finding,) = findings(manager, "failures")
    assert finding.said == f"{path} was kept at the last try (open)"
    assert finding.todo == "It is retried automatically."


def test_a_held_file_is_not_among_the_failures(manager: TempFileManager, clock: FakeClock) -> None:
    path = registered(manager, "used")
    clock.advance(11)
    with path.open():
        assert manager.cleanup() == 0
        (finding,) = findings(manager, "failures")
    assert f"({os.getpid()})" in finding.said
    manager.hold(path)
    assert findings(manager, "failures")[0].level is Level.OK


def test_a_file_that_failed_and_waits_for_its_retry_is_reported_with_the_remedy(
    manager: TempFileManager, clock: FakeClock
) -> None:
    path = registered(manager, "a")
    failed(manager, clock, delay_ms=3_600_000)
    assert manager.registry.due_within(within_ms=0, limit=10) == []
    (finding,) = findings(manager, "failures")
    assert (finding.level, finding.said.startswith(f"{path} cannot be deleted (EPERM: ")) == (
        Level.WARNING,
        True,
    )
    assert finding.said.endswith("; 1 attempt")
    assert "chattr -i" in finding.todo and finding.todo.endswith("It is retried automatically.")
    manager.hold(path)
    assert [item.level for item in findings(manager, "failures")] == [Level.OK], "who holds it keeps it"


def test_ended_leases_and_counts_that_do_not_balance_are_found(
    manager: TempFileManager, clock: FakeClock, redis_client: redis.Redis
) -> None:
    registered(manager, "a")
    clock.advance(11)
    manager.registry.claim(limit=1, lease_ms=1000)
    clock.advance(2)
    assert findings(manager, "leases")[0].said == "1 file has a lease that has expired"
    keys = {key.rpartition(b":")[2]: key for key in redis_client.keys("tempfleet:{*")}
    redis_client.hdel(keys[b"records"], str(Path(manager.base_dir) / "a"))
    assert [finding.level for finding in findings(manager, "record")] == [Level.ERROR]
    redis_client.hincrby(keys[b"stats"], "registered", 2)
    assert findings(manager, "balance")[0].said == "Counts do not balance by 2"


def test_an_ended_hold_is_reported_without_a_warning(manager: TempFileManager, clock: FakeClock) -> None:
    path = registered(manager, "a")
    assert findings(manager, "holds") == []
    manager.hold(path, 2)
    clock.advance(2)
    (finding,) = findings(manager, "holds")
    assert (finding.level, finding.todo) == (Level.OK, "")
    assert finding.said == "1 file has a hold that has ended; the next clean-up treats it as not held"
    assert [finding.level for finding in findings(manager, "leases")] == [Level.OK]


def test_a_silent_host_is_reported_with_the_files_that_wait_there(
    manager: TempFileManager, make_manager: MakeManager, clock: FakeClock, fleet: Fleet
) -> None:
    other = make_manager(host="web-2")
    other.registry.register([NewFile("/base/x", 1000)])
    fleet.heartbeat("web-2")
    clock.advance(100)
    (finding,) = findings(manager, "hosts")
    assert finding.said == "web-2 is silent, and 1 of its files is due; it was last heard 1 min 40 s ago"
    assert "tempfleet hosts forget web-2" in finding.todo
    fleet.announce(other.volume, ephemeral_seconds=86400)
    (finding,) = findings(manager, "hosts")
    expected = "0 hosts are live, and none is silent; sweeps will forget 1 silent ephemeral host"
    assert (finding.level, finding.said) == (Level.OK, expected)
    fleet.announce(other.volume, ephemeral_seconds=0)
    assert forget(fleet, "web-2").is_gone
    assert [finding.level for finding in findings(manager, "hosts")] == [Level.OK]


def test_files_of_a_host_that_no_worker_ever_served_are_reported(
    manager: TempFileManager, make_manager: MakeManager, fleet: Fleet
) -> None:
    other = make_manager(host="typo-host")
    other.registry.register([NewFile("/base/x", 1000)])
    (finding,) = findings(manager, "hosts")
    assert (finding.level, "No worker has ever run" in finding.said) == (Level.WARNING, True)
    other.registry.observe({PASSES: 1})
    assert [finding.level for finding in findings(manager, "hosts")] == [Level.OK], "a program cleans there"
    fleet.heartbeat("web-2")
    (finding,) = findings(manager, "hosts")
    assert finding.said == (
        "No worker of host typo-host is live (live: web-2), and none is known; 1 file is registered for it"
    )
    assert "tempfleet hosts forget typo-host" in finding.todo


def test_a_missing_base_directory_is_an_error_only_if_it_has_registered_files(
    manager: TempFileManager,
) -> None:
    base = Path(manager.base_dir)
    os.rename(base, base.with_name("away"))
    assert Level.ERROR not in {finding.level for finding in findings(manager, "permissions")}
    manager.registry.register([NewFile(str(base / "x"), 1000)])
    (finding,) = [item for item in findings(manager, "permissions") if item.level is Level.ERROR]
    assert "If it was moved" in finding.todo


def test_an_unknown_policy_and_a_plug_in_that_does_not_load_are_errors(
    manager: TempFileManager,
) -> None:
    settings = manager.settings.model_copy(update={"eviction_policy": "foo", "plugins": "absent"})
    by_check = {finding.check: finding for finding in diagnose(manager.registry, settings)}
    assert (by_check["settings"].level, by_check["plug-ins"].level) == (Level.ERROR, Level.ERROR)
    assert "must be one of" in by_check["settings"].said
    assert "absent does not work here" in by_check["plug-ins"].said


def test_a_disk_that_stays_too_full_is_reported(manager: TempFileManager) -> None:
    manager.registry.set_meta(FULL, "1")
    (finding,) = findings(manager, "eviction")
    assert finding.level is Level.WARNING


def test_a_clock_that_went_back_is_an_error(manager: TempFileManager, clock: FakeClock) -> None:
    registered(manager, "a")
    clock.advance(11)
    manager.registry.claim(limit=1, lease_ms=1000)
    clock.advance(-3600)
    (finding,) = findings(manager, "clock")
    assert finding.level is Level.ERROR
    assert finding.said == "Redis's clock went back by at least 1 h"


def jump(manager: TempFileManager, seconds: int) -> None:
    clock = FleetClock(manager.store)
    jumped_ms = clock.jumps().jumped_ms + seconds * 1000
    clock.change(clock.jumps(), jumped_ms=jumped_ms, slack_ms=jumped_ms)
    clock.copy(clock.jumps(), [manager.volume])


def test_a_jump_of_the_clock_and_a_pause_are_errors_with_a_remedy(manager: TempFileManager) -> None:
    registered(manager, "a")
    jump(manager, 360)
    (finding,) = findings(manager, "clock")
    text = "Redis's clock jumped ahead: deadlines pass 6 min later"
    assert (finding.level, finding.said) == (Level.ERROR, text)
    assert "tempfleet clock accept" in finding.todo
    FleetClock(manager.store).pause("older", [manager.volume])
    (finding,) = findings(manager, "clock")
    assert finding.level is Level.ERROR
    assert "no file is claimed for 10 min" in finding.said


def test_a_jump_that_was_taken_back_is_no_finding(manager: TempFileManager, clock: FakeClock) -> None:
    path = registered(manager, "a")
    clock.advance(3600)
    jump(manager, 3600)
    assert manager.registry.claim_paths([str(path)], lease_ms=1, until_ms=clock.now_ms).records
    clock.advance(-3600)
    jump(manager, -3600)
    (finding,) = findings(manager, "clock")
    assert "went back" not in finding.said


def test_clocks_that_are_apart_are_a_warning(manager: TempFileManager) -> None:
    assert findings(manager, "clock")[0].level is Level.WARNING  # the tests' clock stands in another year


def test_a_redis_that_does_not_answer_is_a_finding(tmp_path: Path) -> None:
    manager = TempFileManager(tmp_path / "base", redis_url=f"unix://{tmp_path}/none")
    last = manager.examine()[-1]
    assert (last.check, last.level) == ("redis", Level.ERROR)
    assert "gave no answer" in last.said
    manager.close()


@pytest.mark.process
def test_the_console_prints_findings_as_a_table_or_json_with_an_exit_status(
    tmp_path: Path, real_server: EmbeddedServer, real_client: redis.Redis
) -> None:
    env = console_env(
        tmp_path, TEMP_FILE_REDIS_URL=real_server.unix_url, TEMP_FILE_BASE_DIR=str(tmp_path / "base"),
        TEMP_FILE_ALLOWED_ROOTS=str(tmp_path / "gone"),
    )  # fmt: skip
    for args in (["doctor", "--json"], ["doctor", "--all"]):
        with console(*args, env=env, stdout=-1, stderr=-1) as process:
            out, _ = process.communicate(timeout=30)
        assert process.returncode == 2
        if "--json" in args:
            documents = json.loads(out)["findings"]
            assert next(item for item in documents if item["level"] == "error")["check"] == "permissions"
            assert all(item["todo"] for item in documents)
        else:
            assert out.startswith("LEVEL") and "append-only" in out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the files of other users")
def test_unregistered_files_of_other_users_are_counted_apart(manager: TempFileManager) -> None:
    manager.settings = manager.settings.model_copy(update={"max_age_seconds": 0.001})
    registered(manager, "known")
    for uid in (0, 1234):
        path = Path(manager.base_dir) / f"of {uid}"
        path.touch()
        os.chown(path, uid, uid)
    (finding,) = findings(manager, "unregistered")
    assert finding.said == "2 files in the base directory without a record, 1 of other users"
    assert finding.todo.endswith("With --owner any also those of other users.")


def test_unregistered_files_are_counted_once_they_are_older_than_the_max_age(
    manager: TempFileManager,
) -> None:
    registered(manager, "known")
    fresh, forgotten = Path(manager.base_dir) / "fresh", Path(manager.base_dir) / "forgotten"
    fresh.touch()
    forgotten.touch()
    assert [finding.level for finding in findings(manager, "unregistered")] == [Level.OK]
    manager.settings = manager.settings.model_copy(update={"max_age_seconds": 0.001})
    (finding,) = findings(manager, "unregistered")
    assert (finding.level, finding.said[:7]) == (Level.WARNING, "2 files")
    assert "tempfleet adopt" in finding.todo


def test_the_registry_is_reported_with_its_memory_in_redis(real_client: redis.Redis, tmp_path: Path) -> None:
    manager = TempFileManager(tmp_path / "base", client=real_client)
    manager.registry.register([NewFile(f"{tmp_path}/base/{n}", 60_000) for n in range(1000)])
    (finding,) = findings(manager, "registry")
    memory = manager.registry.memory_bytes()
    assert memory is not None and 100_000 < memory < 1_000_000
    assert finding.said.endswith(f"in {size(memory)} of Redis")
    real_client.execute_command("CONFIG", "SET", "maxmemory", 1 << 30)
    try:
        (finding,) = findings(manager, "redis memory")
        assert "of 1 GiB are used" in finding.said
    finally:
        real_client.execute_command("CONFIG", "SET", "maxmemory", 0)


def test_a_base_directory_on_another_disk_is_reported(manager: TempFileManager) -> None:
    registered(manager, "a")
    manager.registry.set_meta(DISK, "g1.2.another")
    (finding,) = findings(manager, "disk")
    assert (finding.level, "accept-disk" in finding.todo) == (Level.ERROR, True)


def test_a_directory_that_is_created_anew_has_another_remedy_than_a_missing_mount(
    manager: TempFileManager, base_dir: Path
) -> None:
    registered(manager, "a")
    base_dir.rename(base_dir.with_name("away"))
    (finding,) = (item for item in findings(manager, "permissions") if item.level is Level.ERROR)
    assert "move it back before the next clean-up" in finding.todo
    manager.registry.set_meta(DISK, "g1.2.lasting")
    (finding,) = (item for item in findings(manager, "permissions") if item.level is Level.ERROR)
    assert "until then no file is claimed" in finding.todo


def test_adopt_is_not_advised_if_nothing_was_ever_registered(
    manager: TempFileManager, base_dir: Path
) -> None:
    (base_dir / "somebody's").touch()
    manager.settings = manager.settings.model_copy(update={"max_age_seconds": 0.001})
    (finding,) = findings(manager, "unregistered")
    assert (finding.level, "TEMP_FILE_BASE_DIR" in finding.todo) == (Level.WARNING, True)


def test_impossible_roots_are_a_wrong_setting(manager: TempFileManager) -> None:
    manager.settings = manager.settings.model_copy(update={"allowed_roots": ("/",)})
    (finding,) = findings(manager, "settings")
    assert finding.level is Level.ERROR and "TEMP_FILE_ALLOWED_ROOTS" in finding.said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
@pytest.mark.parametrize("hidden", ["base", "parent"])
def test_a_base_directory_that_this_user_may_not_look_into_is_a_finding(
    make_manager: MakeManager, hidden: str
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as parent:
        manager = make_manager(os.path.join(parent, "base"), allowed_roots=[])
        with manager.create():
            list(manager.examine())  # imports what the other user may not import
            os.chmod(parent, 0o700 if hidden == "parent" else 0o755)
            os.chmod(manager.base_dir, 0)
            found = as_nobody(lambda: [(f.check, f.level, f.said) for f in manager.examine()])
            os.chmod(manager.base_dir, 0o700)
    assert any(check == "permissions" and level is Level.ERROR for check, level, _ in found)
    # The other user may not connect to the real server of the test.
    assert {"clock", "redis"} & {check for check, _, _ in found}, "the checks after it were not made"
