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


def test_10_1_0_the_registry_is_used_like_a_dictionary_and_outlives_the_process(new: New) -> None:
    (path,) = registered(new(), 1)
    # A new manager has no state of the first one, like a manager in another process.
    files = new().files
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


def test_10_1_1_the_state_of_one_file_or_of_many_can_be_read(new: New) -> None:
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


def test_10_1_2_a_forced_clean_up_reports_its_result_in_numbers(new: New) -> None:
    manager = new()
    registered(manager, 3, content="x" * 5000)
    report = manager.cleanup_report(force=True)
    assert (report.deleted, report.kept, report.freed_bytes, report.finished) == (3, 0, 15_000, True)


def test_10_1_2_settings_can_come_from_a_file(
    new: New, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tempfleet.toml").write_text('max_age = 120\nquota = "reject"\n')
    monkeypatch.setenv("TEMP_FILE_CONFIG", str(tmp_path / "tempfleet.toml"))
    manager = new()
    assert (manager.max_age, manager.settings.quota) == (120, "reject")


def test_10_1_2_metrics_count_the_work_of_every_process(new: New) -> None:
    registered(new(), 2)
    new().clear_all()
    stats = new().stats()
    assert (stats.total("registered"), stats.total("deleted"), stats.histogram("age").count) == (2, 2, 2)


def test_10_1_2_one_call_checks_the_health(new: New) -> None:
    assert new().health_check()["status"] == "healthy"


# -- 1.3.0


def test_10_1_3_a_file_over_the_size_limit_is_refused_and_stays(new: New) -> None:
    manager = new(size_limit_bytes=10)
    path = temporary_file(content="x" * 11)
    with pytest.raises(QuotaExceeded):
        manager.register(path)
    assert (Path(path).exists(), manager.stats().active) == (True, 0)


def test_10_1_3_files_of_several_hosts_are_in_one_redis_and_each_host_deletes_its_own(
    new: New, tmp_path: Path, redis_client: redis.Redis
) -> None:
    """With real workers and messages: tests/system/stories/test_two_hosts.py."""
    web_1, web_2 = new(), type(new())(tmp_path / "base", host="web-2", client=redis_client)
    files_1, files_2 = registered(web_1, 2), [Path(temporary_file())]
    web_2.register_many(files_2)
    assert (web_1.clear_all(), exist(files_1), exist(files_2)) == (2, 0, 1)
    assert (web_2.clear_all(), exist(files_2)) == (1, 0)
    web_2.close()


@pytest.mark.parametrize(("policy", "evicted"), [("oldest", "old"), ("largest", "large")])
def test_10_1_3_a_named_policy_chooses_the_files_to_evict(
    new: New, clock: FakeClock, policy: str, evicted: str
) -> None:
    """Every policy, on full disks: tests/capacity/test_evictor.py."""
    manager = new(max_files=2, quota="evict", eviction_policy=policy)
    for name, size in (("old", 10), ("large", 1000), ("new", 1)):
        manager.register(temporary_file(f"-{name}", "x" * size))
        clock.advance(1)
    names = {str(path).rpartition("-")[2] for path in manager.files}
    assert names == {"old", "large", "new"} - {evicted}


def test_10_1_3_idle_files_are_compressed_and_can_be_read_as_before(new: New, clock: FakeClock) -> None:
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


def test_10_1_3_a_plug_in_can_veto_a_deletion(new: New, packages: Packages) -> None:
    """Plug-ins that raise or hang, and the other hooks: tests/plugins/test_hooks.py."""
    packages.install("keeper", KEEPER)
    manager = new()
    kept, other = Path(temporary_file()), Path(temporary_file())
    manager.register(kept, tags=["keep"])
    manager.register(other)
    assert (manager.clear_all(), kept.exists(), other.exists()) == (1, True, False)
    assert manager.is_temp_file(kept)


@pytest.mark.parametrize("command", main.list_commands(main.make_context("tempfleet", ["version"])))
def test_10_1_3_every_command_has_json_output_and_an_exit_status(command: str) -> None:
    """Manifests, probes and metrics for a cluster: tests/system/deploy/test_kubernetes.py."""
    result = CliRunner().invoke(main, [command, "--json", "--no-such-option"])
    assert (result.exit_code, result.stdout) == (2, "")
    # There can be warnings: beat reports that there is no Redis.
    *warnings, error = map(json.loads, result.stderr.splitlines())
    assert error["error"] == "NoSuchOption" and all("warning" in line for line in warnings)


@pytest.mark.parametrize(
    "command",
    ["cleanup --dry-run", "config", "dead ls", "doctor --all", "health", "hosts", "ls", "plugins", "status", "version"],
)  # fmt: skip
def test_10_1_3_a_reading_command_prints_one_json_document(
    command: str, tmp_path: Path, real_server: EmbeddedServer, real_client: redis.Redis
) -> None:
    (tmp_path / "base").mkdir(mode=0o700)
    common = ["--base-dir", str(tmp_path / "base"), "--redis-url", real_server.unix_url, "--json"]
    result = CliRunner().invoke(main, [*common, *command.split()])
    assert isinstance(json.loads(result.stdout), dict)
    # The doctor may find that the disk is full.
    assert result.exit_code == 0 or command == "doctor --all"


def test_10_1_3_the_exit_status_of_health_is_the_health(
    tmp_path: Path, real_server: EmbeddedServer, real_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    base.mkdir(mode=0o700)
    monkeypatch.setenv("MAX_TEMP_FILES", "1")
    common = ["--base-dir", str(base), "--redis-url", real_server.unix_url, "--json"]

    def health() -> tuple[int, str]:
        result = CliRunner().invoke(main, [*common, "health"])
        return result.exit_code, json.loads(result.stdout)["status"]

    assert health() == (0, "healthy")
    for name in "ab":
        (base / name).touch()
        assert CliRunner().invoke(main, [*common, "register", str(base / name)]).exit_code == 0
    assert health() == (1, "degraded")
    base.rename(tmp_path / "away")
    assert health() == (2, "unhealthy")
