"""Section 10: the features of each version, including the planned one."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from specification.material import New, exist, registered, temporary_file, undeletable
from support import Packages, assert_balanced
from tempfleet import QuotaExceeded
from tempfleet.cli import main
from tempfleet.embedded import EmbeddedServer
from tempfleet.testing import FakeClock

# -- 1.0.0


def test_10_1_0_files_are_registered_tracked_and_cleaned_by_age(new: New, clock: FakeClock) -> None:
    manager = new(max_age=60)
    (path,) = registered(manager, 1)
    clock.advance(59)
    assert (manager.is_temp_file(path), manager.get_file_age(path), manager.cleanup()) == (True, 59, 0)
    clock.advance(1)
    assert (manager.cleanup(), path.exists()) == (1, False)


def test_10_1_0_the_registry_is_a_dictionary_to_its_users_and_outlives_the_process(new: New) -> None:
    (path,) = registered(new(), 1)
    files = new().files  # as another process would have it
    assert (str(path) in files, len(files), list(files)) == (True, 1, [str(path)])


def test_10_1_0_operations_are_safe_among_threads(new: New) -> None:
    manager = new()
    threads = [threading.Thread(target=registered, args=(manager, 10)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert manager.clear_all() == 40
    assert_balanced(manager)


# -- 1.1.0


def test_10_1_1_state_can_be_asked_for_one_file_and_for_many(new: New) -> None:
    manager = new()
    paths = registered(manager, 3)
    assert all(record is not None for record in manager.get_records(paths))
    assert str(manager.explain(paths[0])).startswith(str(paths[0]))


def test_10_1_1_batches_are_registered_and_cleaned(new: New) -> None:
    manager = new()
    assert manager.register_batch([temporary_file() for _ in range(5)]).registered == 5
    assert manager.cleanup_batch(force=True).deleted == 5


def test_10_1_1_errors_keep_records_and_everything_is_logged(
    new: New, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tempfleet")
    manager = new()
    (path,) = registered(manager, 1)
    with undeletable():
        manager.clear_all()
    assert manager.is_temp_file(path)
    assert [line.partition(" temporary file")[0] for line in caplog.messages if str(path) in line] == [
        "Registered",
        "Failed to remove",
    ]


# -- 1.2.0


def test_10_1_2_force_cleans_and_tells_its_result_in_figures(new: New) -> None:
    manager = new()
    registered(manager, 3, content="x" * 5000)
    report = manager.cleanup_report(force=True)
    assert (report.deleted, report.kept, report.freed_bytes >= 15_000, report.finished) == (3, 0, True, True)


def test_10_1_2_parameters_come_from_a_file_too(
    new: New, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tempfleet.toml").write_text('max_age = 120\nquota = "reject"\n')
    monkeypatch.setenv("TEMP_FILE_CONFIG", str(tmp_path / "tempfleet.toml"))
    manager = new()
    assert (manager.max_age, manager.settings.quota) == (120, "reject")


def test_10_1_2_metrics_are_counted_whoever_did_the_work(new: New) -> None:
    registered(new(), 2)
    new().clear_all()
    stats = new().stats()
    assert (stats.total("registered"), stats.total("deleted"), stats.histogram("age").count) == (2, 2, 2)


def test_10_1_2_health_is_asked_with_one_call(new: New) -> None:
    assert new().health_check()["status"] == "healthy"


# -- 1.3.0


def test_10_1_3_files_beyond_a_size_are_not_taken_and_stay_their_callers(new: New) -> None:
    manager = new(size_limit_bytes=10)
    path = temporary_file(content="x" * 11)
    with pytest.raises(QuotaExceeded):
        manager.register(path)
    assert (Path(path).exists(), manager.stats().active) == (True, 0)


def test_10_1_3_files_of_several_hosts_are_in_one_redis_and_each_host_deletes_its_own(
    new: New, tmp_path: Path, redis_client: redis.Redis
) -> None:
    """With real workers and messages: tests/system/stories/test_two_hosts.py."""
    here, there = new(), type(new())(tmp_path / "base", host="web-2", client=redis_client)
    ours, theirs = registered(here, 2), [Path(temporary_file())]
    there.register_many(theirs)
    assert (here.clear_all(), exist(ours), exist(theirs)) == (2, 0, 1)
    assert (there.clear_all(), exist(theirs)) == (1, 0)
    there.close()


@pytest.mark.parametrize(("policy", "goes"), [("oldest", "old"), ("largest", "large")])
def test_10_1_3_what_makes_room_is_chosen_by_a_strategy_with_a_name(
    new: New, clock: FakeClock, policy: str, goes: str
) -> None:
    """Every policy, on disks that are really full: tests/capacity/test_evictor.py."""
    manager = new(max_files=2, quota="evict", eviction_policy=policy)
    for name, size in (("old", 10), ("large", 1000), ("new", 1)):
        manager.register(temporary_file(f"-{name}", "x" * size))
        clock.advance(1)
    left = {str(path).rpartition("-")[2] for path in manager.files}
    assert left == {"old", "large", "new"} - {goes}


def test_10_1_3_idle_files_are_compressed_and_read_as_before(new: New, clock: FakeClock) -> None:
    manager = new(compress_after_seconds=60, compression="all")
    text = "the same line\n" * 10_000
    (path,) = registered(manager, 1, content=text)
    os.utime(path, (0, 0))
    clock.advance(61)
    assert manager.compress_idle().compressed == 1
    assert path.stat().st_size < len(text) // 10
    with manager.open(path, "r") as file:
        assert file.read() == text
    assert manager.clear_all() == 1


KEEPER = """
    from tempfleet.plugins import hookimpl

    @hookimpl
    def tempfleet_before_delete(files):
        return [file.path for file in files if "keep" in file.tags]
"""


def test_10_1_3_a_plug_in_is_asked_before_a_deletion_and_may_say_no(new: New, packages: Packages) -> None:
    """Plug-ins that raise or hang, and the other hooks: tests/plugins/test_hooks.py."""
    packages.install("keeper", KEEPER)
    manager = new()
    kept, other = Path(temporary_file()), Path(temporary_file())
    manager.register(kept, tags=["keep"])
    manager.register(other)
    assert (manager.clear_all(), kept.exists(), other.exists()) == (1, True, False)
    assert manager.is_temp_file(kept)


@pytest.mark.parametrize("command", main.list_commands(main.make_context("tempfleet", ["version"])))
def test_10_1_3_every_command_has_json_and_an_exit_status_for_machines(command: str) -> None:
    """Manifests, probes and metrics for a cluster: tests/system/deploy/test_kubernetes.py."""
    said = CliRunner().invoke(main, [command, "--json", "--no-such-option"])
    assert (said.exit_code, said.stdout) == (2, "")
    *warnings, error = map(json.loads, said.stderr.splitlines())  # beat reports that there is no Redis
    assert error["error"] == "NoSuchOption" and all("warning" in each for each in warnings)


@pytest.mark.parametrize(
    "command",
    ["cleanup --dry-run", "config", "dead ls", "doctor --all", "health", "hosts", "ls", "plugins", "status", "version"],
)  # fmt: skip
def test_10_1_3_what_is_asked_is_answered_with_one_json_document(
    command: str, tmp_path: Path, real_server: EmbeddedServer, real_client: redis.Redis
) -> None:
    (tmp_path / "base").mkdir(mode=0o700)
    common = ["--base-dir", str(tmp_path / "base"), "--redis-url", real_server.unix_url, "--json"]
    said = CliRunner().invoke(main, [*common, *command.split()])
    assert isinstance(json.loads(said.stdout), dict)
    assert said.exit_code == 0 or command == "doctor --all"  # it may find that the disk is full


def test_10_1_3_health_is_an_exit_status(
    tmp_path: Path, real_server: EmbeddedServer, real_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    base.mkdir(mode=0o700)
    monkeypatch.setenv("MAX_TEMP_FILES", "1")
    common = ["--base-dir", str(base), "--redis-url", real_server.unix_url, "--json"]

    def health() -> tuple[int, str]:
        said = CliRunner().invoke(main, [*common, "health"])
        return said.exit_code, json.loads(said.stdout)["status"]

    assert health() == (0, "healthy")
    for name in "ab":
        (base / name).touch()
        assert CliRunner().invoke(main, [*common, "register", str(base / name)]).exit_code == 0
    assert health() == (1, "degraded")
    base.rename(tmp_path / "away")
    assert health() == (2, "unhealthy")
