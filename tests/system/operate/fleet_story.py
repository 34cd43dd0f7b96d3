"""
A fleet with a history: four live hosts, a silent one, dead letters, and a file with a hostile name.

    PYTHONPATH=tests python -m tests.system.operate.fleet_story docs/images/status-page.png     takes the picture
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import fakeredis

from tempfleet import Deletion, Outcome, Settings, Volume
from tempfleet.monitoring.snapshot import Snapshot, take_snapshot
from tempfleet.monitoring.status_page import status_page
from tempfleet.records import NewFile
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.pulse import Sweep
from tempfleet.registry.registry import Registry
from tempfleet.registry.store import Store
from tempfleet.registry.values import Nack
from tempfleet.testing import FakeClock

HOSTILE = '<img src=x onerror="alert(1)">"\x1b[31m\n.mp4'

VOLUMES = {
    Volume("web-1", "/var/tmp/reports"): 600,
    Volume("web-1", "/srv/uploads"): 240,
    Volume("web-2", "/var/tmp/reports"): 900,
    Volume("web-3", "/var/tmp/reports"): 300,
    Volume("media", "/mnt/shared/transcode"): 150,
    Volume("batch-7", "/scratch"): 80,
}
LIVE = ("web-1", "web-2", "web-3", "media")


def example_fleet() -> Fleet:
    chance, clock = random.Random(7), FakeClock()
    fleet = Fleet(Store(fakeredis.FakeRedis(), clock=clock))
    fleet.heartbeat("batch-7")
    clock.advance(400)
    for volume, count in VOLUMES.items():
        registry = fleet.registry(volume)
        _past(registry, count, clock, chance)
        registry.register([_file(volume, f"next-{i}", chance.gauss(1500, 900), chance) for i in range(count)])
        for i in range(count // 12):
            registry.hold(f"{volume.base_dir}/next-{i}", hold_ms=None)
    _bury(fleet.registry(Volume("media", "/mnt/shared/transcode")), HOSTILE, clock)
    for due in (212, 0, 431, 17, 96, 0):
        fleet.record_sweep(
            Sweep(chance.choice(LIVE), chance.uniform(0.002, 0.02), len(VOLUMES), due, due // 90, due % 5, 80)
        )
        clock.advance(8)
    for host in LIVE:
        fleet.heartbeat(host)
    return fleet


def snapshot_of(fleet: Fleet) -> Snapshot:
    return take_snapshot(fleet, Settings.load(host="web-1"))


def _past(registry: Registry, count: int, clock: FakeClock, chance: random.Random) -> None:
    """Register files that have expired, and settle them; those of a silent host still wait."""
    volume = registry.volume
    registry.register([_file(volume, f"old-{i}", chance.expovariate(0.5), chance) for i in range(count)])
    clock.advance(9)
    if volume.host not in LIVE:
        return
    claim = registry.claim(limit=1000, lease_ms=60_000)
    dead = claim.records[:3] if volume.host == "media" else ()
    gone = claim.records[len(dead) :]
    registry.ack(claim.token, [Deletion(file, Outcome.DELETED, freed_bytes=file.size_bytes) for file in gone])
    reasons = zip(dead, ("EACCES", "symlink", "EPERM"), strict=False)
    registry.nack(claim.token, [Nack(file.path, bury=True, reason=reason) for file, reason in reasons])


def _bury(registry: Registry, name: str, clock: FakeClock) -> None:
    path = f"{registry.volume.base_dir}/{name}"
    registry.register([NewFile(path, 1)])
    clock.advance(0.001)
    claim = registry.claim_paths([path], lease_ms=1000, until_ms=clock())
    registry.nack(claim.token, [Nack(path, bury=True, reason="EACCES")])


def _file(volume: Volume, name: str, ttl_seconds: float, chance: random.Random) -> NewFile:
    ttl_ms = round(min(max(ttl_seconds, 1 if name.startswith("old") else 100), 7000) * 1000)
    return NewFile(f"{volume.base_dir}/{name}", ttl_ms, size_bytes=chance.randint(1_000, 9_000_000))


if __name__ == "__main__":
    from browser import screenshot

    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(status_page(snapshot_of(example_fleet())), encoding="utf-8")
        screenshot(page.as_uri(), Path(sys.argv[1]), profile=Path(folder) / "profile")
