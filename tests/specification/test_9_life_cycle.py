"""Section 9: the diagrams. The arrows of the life cycle, the layers, two threads at once, and the count over time."""

from __future__ import annotations

import json
import logging
import signal
import threading
from pathlib import Path

import pytest
import redis

from specification.material import New, exist, registered, temporary_file
from support import ROOT, assert_balanced, python
from tempfleet.deletion import failpoints as faults
from tempfleet.embedded import EmbeddedServer
from tempfleet.monitoring.metrics import FleetCollector
from tempfleet.registry.fleet import Fleet
from tempfleet.testing import FakeClock

# -- 9.1: the life cycle


def test_9_1_creation_leads_to_registration(new: New) -> None:
    manager = new()
    with manager.create() as file:
        assert manager.is_temp_file(file.path)


def test_9_1_registration_leads_to_a_recorded_time(new: New, clock: FakeClock) -> None:
    manager = new()
    (path,) = registered(manager, 1)
    assert manager.files[str(path)] == clock.now_ms / 1000


def test_9_1_a_recorded_file_is_counted_once_it_has_expired(new: New, clock: FakeClock) -> None:
    manager = new(max_age=30)
    registered(manager, 1)
    counts = []
    for _ in range(3):
        clock.advance(10)
        counts.append(manager.stats().due)
    assert counts == [0, 0, 1]


def test_9_1_a_file_that_has_not_expired_stays_registered(new: New, clock: FakeClock) -> None:
    manager = new(max_age=30)
    (path,) = registered(manager, 1)
    for _ in range(2):
        clock.advance(10)
        assert (manager.cleanup(), path.exists(), manager.is_temp_file(path)) == (0, True, True)


def test_9_1_an_expired_file_is_deleted_then_unrecorded_then_logged(
    new: New, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tempfleet")
    manager = new(max_age=30)
    (path,) = registered(manager, 1)
    clock.advance(30)
    steps: list[tuple[str, bool, bool]] = []
    faults.install(lambda point: steps.append((point, path.exists(), manager.is_temp_file(path))))
    try:
        assert manager.cleanup() == 1
    finally:
        faults.install(None)
    # The deletion begins while the file is registered, and ends before the record is removed.
    assert steps[0] == ("guarded.found", True, True)
    assert steps[-1] == ("guarded.unlinked", False, True)
    assert not manager.is_temp_file(path)
    removed, cleaned = caplog.messages[-2:]
    assert removed == f"Removed temporary file: {path}"
    assert cleaned.startswith("Cleaned up 1 ")


def test_9_1_force_deletes_at_once(new: New) -> None:
    manager = new()
    paths = registered(manager, 2)
    assert (manager.cleanup(force=True), exist(paths)) == (2, 0)


@pytest.mark.process
def test_9_1_a_shutdown_deletes_the_files_of_the_process_if_it_is_set_so(
    base_dir: Path, real_server: EmbeddedServer, real_client: redis.Redis
) -> None:
    """On SIGTERM and at exit, with the application's own handlers: tests/manager/test_shutdown.py."""
    code = (
        "import sys\nfrom tempfleet import Settings, TempFileManager\n"
        "values = dict(base_dir=sys.argv[1], redis_url=sys.argv[2], clear_on_shutdown=True)\n"
        "manager = TempFileManager(settings=Settings.load(**values))\n"
        "[manager.create().close() for _ in range(3)]\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
    )
    with python(code, base_dir, real_server.unix_url) as process:
        assert process.stdout.readline() == "ready\n"  # type: ignore[union-attr]
        assert len(list(base_dir.glob("[!.]*"))) == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
    assert list(base_dir.glob("[!.]*")) == []


# -- 9.2: the layers


def test_9_2_a_tool_needs_only_the_manager_for_registry_disk_and_metrics(new: New) -> None:
    manager = new()
    paths = registered(manager, 2)
    assert sorted(manager.files) == sorted(map(str, paths))
    assert manager.health_check()["active_files"] == 2
    collector = FleetCollector(Fleet(manager.store), host="web-1")
    samples = {sample.name: sample.value for family in collector.collect() for sample in family.samples}
    assert samples["temp_files_active"] == 2
    assert manager.clear_all() == 2


def test_9_2_data_cache_and_log_files_are_treated_alike(new: New, clock: FakeClock) -> None:
    manager = new(max_age=10)
    paths = [Path(temporary_file(suffix, "x")) for suffix in (".parquet", ".cache", ".log")]
    manager.register_many(paths)
    clock.advance(10)
    assert (manager.cleanup(), exist(paths)) == (3, 0)


# -- 9.3: concurrency


def test_9_3_concurrent_registrations_and_clean_ups_are_seen_in_whole_steps(
    new: New, clock: FakeClock
) -> None:
    manager, stop, imbalances = new(max_age=3600), threading.Event(), list[int]()
    writers = [threading.Thread(target=registered, args=(manager, 30)) for _ in range(2)]

    def watch() -> None:
        while not stop.is_set():
            imbalances.append(manager.stats().imbalance)

    watcher = threading.Thread(target=watch)
    for thread in (watcher, *writers):
        thread.start()
    cleaned = manager.clear_all()
    for thread in writers:
        thread.join()
    cleaned += manager.clear_all()
    stop.set()
    watcher.join()
    assert (cleaned, set(imbalances)) == (60, {0})
    assert_balanced(manager)


# -- 9.4: the count over time


def test_9_4_the_dashboard_shows_the_count_over_time(new: New) -> None:
    """With data of a real worker: tests/system/deploy/test_prometheus.py."""
    dashboard = ROOT / "deploy" / "grafana" / "dashboards" / "tempfleet.json"
    panels = json.loads(dashboard.read_text())["panels"]
    assert any("temp_files_active" in json.dumps(panel) for panel in panels)
