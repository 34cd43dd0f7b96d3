"""What a scrape shows, and what it costs. The scripts count, so it does not matter which process did the work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from support import ROOT, Packages
from tempfleet import Deletion, Outcome, Settings, TempFileManager, Volume
from tempfleet.embedded import EmbeddedServer
from tempfleet.filesystem import errnos
from tempfleet.monitoring.metrics import FleetCollector, prometheus_registry
from tempfleet.monitoring.words import FAILURES
from tempfleet.plugins import installed
from tempfleet.records import NewFile
from tempfleet.registry.connection import connect
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.pulse import Sweep
from tempfleet.registry.registry import Registry
from tempfleet.registry.store import Store
from tempfleet.registry.values import Nack
from tempfleet.testing import FakeClock

Samples = dict[str, float]

PROCESS = "process_"


def samples(collector: FleetCollector, *, labels: tuple[str, ...] = ()) -> Samples:
    """Sample name (with the values of *labels* after it) -> value, the sum over other labels."""
    text = generate_latest(prometheus_registry(collector)).decode()
    values: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = " ".join([sample.name, *(sample.labels.get(label, "") for label in labels)])
            values[name] = values.get(name, 0) + sample.value
    return values


def files(*names: str, size: int = 10, ttl_ms: int = 1000) -> list[NewFile]:
    return [NewFile(f"/base/{name}", ttl_ms, size_bytes=size) for name in names]


@pytest.fixture
def collector(fleet: Fleet) -> FleetCollector:
    return FleetCollector(fleet, host="web-1", own=Volume("web-1", "/base"))


def test_what_the_scripts_count_is_what_a_scrape_shows(
    collector: FleetCollector, registry: Registry, clock: FakeClock
) -> None:
    registry.register(files("a", "b", "c", "d"))
    clock.advance(3)
    claim = registry.claim(limit=10, lease_ms=1000)
    by_path = {record.path: record for record in claim.records}
    registry.ack(claim.token, [Deletion(by_path["/base/a"], Outcome.DELETED, freed_bytes=10)])
    registry.nack(claim.token, [Nack("/base/b", delay_ms=5000, reason="EACCES"), Nack("/base/c", bury=True)])
    registry.observe({"round_trips": 4}, histogram="duration", seconds=0.02)
    clock.advance(2)
    registry.reap()
    values = samples(collector)
    expected = {
        "temp_files_registered_total": 4, "temp_files_cleaned_total": 1, "temp_files_active": 3,
        "temp_files_dead": 1, "temp_files_waiting": 2, "temp_files_due": 1, "temp_files_retrying": 1,
        "temp_file_retries_total": 2, "temp_file_failures_total": 1, "temp_file_dead_letters_total": 1,
        "temp_file_leases_recovered_total": 1, "temp_file_leases_expired_total": 1,
        "temp_file_registered_bytes_total": 40, "temp_file_deleted_bytes_total": 10, "temp_file_bytes": 30,
        "temp_file_overdue_seconds": 4, "temp_file_imbalance": 0, "temp_file_redis_round_trips_total": 4,
        "temp_file_age_seconds_count": 1, "temp_file_age_seconds_sum": 3, "temp_file_lag_seconds_sum": 2,
        "temp_file_cleanup_duration_seconds_count": 1, "tempfleet_registry_up": 1,
    }  # fmt: skip
    assert expected.items() <= values.items()


def test_buckets_are_cumulative_and_reach_days(
    collector: FleetCollector, registry: Registry, clock: FakeClock
) -> None:
    registry.register(files("a"))
    clock.advance(2 * 86400)
    claim = registry.claim(limit=1, lease_ms=1000)
    registry.ack(claim.token, [Deletion(claim.records[0], Outcome.DELETED)])
    buckets = {
        float(name.split()[1]): count
        for name, count in samples(collector, labels=("le",)).items()
        if name.startswith("temp_file_age_seconds_bucket")
    }
    counts = [buckets[bound] for bound in sorted(buckets)]
    assert counts == sorted(counts)
    assert buckets[86400] == 0
    assert buckets[3 * 86400] == buckets[float("inf")] == 1
    assert sorted(buckets)[-2] >= 7 * 86400


def test_no_label_is_unbounded(collector: FleetCollector, registry: Registry, fleet: Fleet) -> None:
    registry.register(files("a\nb", 'c"d'))
    registry.observe({"rejected:UnsafePath": 1})
    fleet.heartbeat("web-1")
    text = generate_latest(prometheus_registry(collector)).decode()
    names = {
        label
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not family.name.startswith(("tempfleet_build", PROCESS))
        for label in sample.labels
    }
    assert names == {"host", "volume", "outcome", "le"}


def is_counter(name: str) -> bool:
    return ("_total" in name or "_bucket" in name) and not name.startswith(PROCESS)


GUARD = "def tempfleet_before_delete(files): pass"


def test_no_event_gives_birth_to_a_series_so_that_a_first_burst_is_seen(
    fleet: Fleet, clock: FakeClock, packages: Packages
) -> None:
    packages.install("guard", GUARD)
    plugins = installed(Settings.load(plugins="guard"))
    registry = fleet.registry(Volume("web-1", "/base"))
    fleet.announce(registry.volume)
    collector = FleetCollector(fleet, host="web-1", plugins=plugins)
    labels = ("host", "volume", "outcome", "le")
    born = samples(collector, labels=labels)
    counters = {name for name in born if is_counter(name)}
    assert {born[name] for name in counters} == {0}
    reasons = ("EACCES", "EIO", "EOWNERDEAD", "owner", "veto:guard", "plug-in:guard", "never heard of")
    for number, reason in enumerate(reasons):
        registry.register(files(f"{number}", ttl_ms=1))
        clock.advance(1)
        claim = registry.claim(limit=10, lease_ms=1000)
        registry.nack(claim.token, [Nack(f"/base/{number}", delay_ms=100_000, reason=reason)])
    for word in ("UnsafePath", "UnknownHost", "never heard of"):
        registry.observe({f"rejected:{word}": 1})
    registry.record_plugin("guard.before_delete", failures=2, reason="broken", hold_ms=1)
    registry.register(files(*"abcde", ttl_ms=1))
    clock.advance(1)
    claim = registry.claim(limit=10, lease_ms=1000)
    outcomes = (Outcome.DELETED, Outcome.MISSING, Outcome.REPLACED)
    registry.ack(claim.token, [Deletion(r, o) for r, o in zip(claim.records, outcomes, strict=False)])
    registry.unregister(["/base/d", "/base/e"])
    after = samples(collector, labels=labels)
    assert {name for name in after if is_counter(name)} == counters
    kept = "temp_file_failures_total web-1 /base {} "
    assert after[kept.format("other")] == 2
    assert after[kept.format("EACCES")] == after[kept.format("veto:guard")] == 1
    assert after["temp_file_rejected_messages_total web-1 /base other "] == 1
    assert after["temp_file_plugin_failures_total web-1 /base guard.before_delete "] == 2


REASON = re.compile(r'reason="([\w -]+)"|Outcome\.(?:REFUSED|FAILED|BUSY|UNAVAILABLE)[^)]*, "([\w -]+)"\)')


def test_every_reason_in_the_code_has_a_series_of_its_own() -> None:
    for room in ("deletion", "cleanup", "filesystem"):
        for module in (ROOT / "manager/tempfleet" / room).glob("*.py"):
            for pair in REASON.findall(module.read_text(encoding="utf-8")):
                word = "".join(pair)
                assert word in FAILURES or word in NEVER_KEPT, (module.name, word)
    assert meaning_words() <= {*FAILURES}


NEVER_KEPT = {"missing", "not-a-directory", "raced", "too-young", "exists"}
"""Reasons of outcomes after which no file is kept, and of restoring."""


def meaning_words() -> set[str]:
    return {*errnos._MEANINGS}


def test_a_base_directory_of_any_bytes_makes_a_scrape_that_parses(fleet: Fleet) -> None:
    hostile = Volume("web-1", os.fsdecode(b'/ba\xffse"\n\\'))
    fleet.registry(hostile).register(files("a"))
    values = samples(FleetCollector(fleet, host=None), labels=("volume",))
    assert values['temp_files_active /ba\\udcffse"\\n\\\\'] == 1


def test_a_worker_shows_its_own_hosts_volumes_and_an_exporter_all(fleet: Fleet) -> None:
    for host in ("web-1", "web-2"):
        fleet.registry(Volume(host, "/base")).register(files("a"))
        fleet.heartbeat(host)
    own = samples(FleetCollector(fleet, host="web-1"), labels=("host",))
    every = samples(FleetCollector(fleet, host=None), labels=("host",))
    assert "temp_files_active web-1" in own
    assert "temp_files_active web-2" not in own
    assert {"temp_files_active web-1", "temp_files_active web-2"} <= every.keys()


def test_files_of_a_silent_host_are_shown_by_live_hosts(fleet: Fleet, clock: FakeClock) -> None:
    fleet.registry(Volume("web-2", "/base")).register(files("a", "b"))
    fleet.heartbeat("web-2")
    clock.advance(120)
    fleet.heartbeat("web-1")
    values = samples(FleetCollector(fleet, host="web-1"), labels=("host",))
    expected = {
        "tempfleet_hosts_live ": 1, "tempfleet_hosts_silent ": 1, "tempfleet_silent_host_seconds web-2": 120,
        "tempfleet_silent_host_files web-2": 2, "tempfleet_silent_host_due_files web-2": 2,
    }  # fmt: skip
    assert expected.items() <= values.items()
    assert "temp_files_active web-2" not in values


def test_a_silent_ephemeral_host_has_no_overdue_files_to_alert_about(fleet: Fleet, clock: FakeClock) -> None:
    volume = Volume("pod-1", "/base")
    fleet.announce(volume, ephemeral_seconds=86400)
    fleet.registry(volume).register(files("a", "b"))
    fleet.heartbeat("pod-1")
    clock.advance(120)
    values = samples(FleetCollector(fleet, host="web-1"), labels=("host",))
    assert values["tempfleet_silent_host_files pod-1"] == 2
    assert "tempfleet_silent_host_due_files pod-1" not in values


def test_a_scrape_costs_the_same_round_trips_whatever_the_number_of_volumes(fleet: Fleet) -> None:
    collector = FleetCollector(fleet, host=None)

    def cost() -> int:
        before = fleet.store.round_trips
        list(collector.collect())
        return fleet.store.round_trips - before

    fleet.registry(Volume("web-1", "/base")).register(files("a"))
    list(collector.collect())  # the first sends the scripts' texts
    alone = cost()
    for i in range(20):
        fleet.registry(Volume(f"web-{i}", "/base")).register(files("a"))
    assert cost() == alone <= 6


def test_the_age_of_the_last_sweep_is_shown(
    collector: FleetCollector, fleet: Fleet, clock: FakeClock
) -> None:
    assert "tempfleet_sweep_age_seconds" not in samples(collector)
    fleet.record_sweep(Sweep("web-1", 0.01, volumes=1, due=0, sent=0, recovered=0, silent_due=0))
    clock.advance(42)
    assert samples(collector)["tempfleet_sweep_age_seconds"] == 42


def test_only_the_last_sweeps_are_kept(fleet: Fleet, clock: FakeClock) -> None:
    for due in range(50):
        fleet.record_sweep(Sweep("web-1", 0.01, volumes=1, due=due, sent=0, recovered=0, silent_due=0))
        clock.advance(1)
    now_ms, sweeps = fleet.sweeps()
    assert [sweep.due for _, sweep in sweeps] == list(range(49, 29, -1))
    assert now_ms - sweeps[0][0] == 1000


def test_a_scrape_without_redis_reports_that_the_registry_is_down(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path / "server") as server:
        collector = FleetCollector(Fleet(Store(connect(server.unix_url))), host="web-1")
        assert samples(collector)["tempfleet_registry_up"] == 1
    values = samples(collector)
    assert values["tempfleet_registry_up"] == 0
    assert "temp_files_active" not in values
    assert any(name.startswith("tempfleet_build_info") for name in values)


def test_missing_roots_are_counted(
    make_manager: Callable[..., TempFileManager], fleet: Fleet, tmp_path: Path, base_dir: Path
) -> None:
    manager = make_manager()
    collector = FleetCollector(fleet, host="web-1", own=manager.volume, roots=manager.roots)
    assert samples(collector)["temp_file_roots_missing"] == 0
    base_dir.rename(tmp_path / "away")
    assert samples(collector)["temp_file_roots_missing"] == 1


def test_quarantined_files_are_measured_on_the_disk(
    make_manager: Callable[..., TempFileManager], fleet: Fleet, clock: FakeClock, base_dir: Path
) -> None:
    manager = make_manager(quarantine_seconds=600)
    (base_dir / "a").write_bytes(bytes(1000))
    manager.register_file(base_dir / "a", ttl=1)
    clock.advance(2)
    manager.cleanup()
    collector = FleetCollector(fleet, host="web-1", own=manager.volume, roots=manager.roots)
    assert not (base_dir / "a").exists()
    assert samples(collector)["temp_file_quarantine_files"] == 1
    assert samples(collector)["temp_file_quarantine_bytes"] == 1000


LIBRARY_PROCESS = """
import os, sys
from tempfleet import TempFileManager
manager = TempFileManager(sys.argv[1], redis_url=sys.argv[2], host="web-1")
for _ in range(7):
    manager.create().close()
manager.cleanup(force=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.process
def test_the_work_of_a_killed_process_that_was_never_scraped_is_counted(
    real_server: EmbeddedServer, real_client: redis.Redis, tmp_path: Path
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", LIBRARY_PROCESS, str(tmp_path / "base"), real_server.unix_url], check=False
    )
    assert killed.returncode == -9
    values = samples(FleetCollector(Fleet(Store(real_client)), host="web-1"))
    assert values["temp_files_registered_total"] == values["temp_files_cleaned_total"] == 7
    assert values["temp_file_age_seconds_count"] == 7
    assert values["temp_file_cleanup_duration_seconds_count"] == 1
    assert values["temp_file_redis_round_trips_total"] >= 3
    assert values["tempfleet_redis_memory_used_bytes"] > 0


def test_files_of_a_host_that_no_worker_has_are_shown_by_live_hosts(fleet: Fleet) -> None:
    fleet.heartbeat("web-1")
    fleet.registry(Volume("typo", "/base")).register(files("a", "b"))
    values = samples(FleetCollector(fleet, host="web-1"), labels=("host", "volume"))
    assert values["tempfleet_unknown_host_files typo /base"] == 2
    assert "temp_files_active typo /base" not in values
    fleet.heartbeat("typo")
    assert "tempfleet_unknown_host_files typo /base" not in samples(
        FleetCollector(fleet, host="web-1"), labels=("host", "volume")
    )


def test_the_free_share_of_the_fullest_disk_is_shown(
    manager: TempFileManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = FleetCollector(Fleet(manager.store), host="web-1", own=manager.volume, roots=manager.roots)
    full = SimpleNamespace(f_bavail=50, f_blocks=100, f_favail=1, f_files=100)
    monkeypatch.setattr("os.fstatvfs", lambda _fd: full)
    assert samples(own)["temp_file_disk_free_ratio"] == 0.01
