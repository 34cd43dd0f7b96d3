"""
Workers are killed with SIGKILL at random moments while thousands of real files expire.

At every poll the counts balance and every path is in exactly one place. At the end only the held files and their
records are left.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from processes import Beat, Worker, files_in, manager_of
from tempfleet import State, TempFileManager
from tempfleet.embedded import EmbeddedServer

FEWEST_FILES = 6000
FEWEST_KILLS = 6
FEWEST_RECOVERED = 100
BATCH = 500
LIMIT_SECONDS = 150
SLOW_ENOUGH_TO_BE_CAUGHT = {"TEMP_FILE_CLEANUP_BATCH_SIZE": str(BATCH), "TEMP_FILE_CLEANUP_THREADS": "1"}


class Site:
    """One host: its volume, its files, and the worker that is killed again and again."""

    def __init__(self, host: str, url: str, directory: Path) -> None:
        self.host, self.url, self.directory = host, url, directory
        self.base = directory / host / "base"
        self.manager: TempFileManager = manager_of(host, self.base, url)
        self.registered_files = self.kills = 0
        self.kept = self.manager.create(ttl=0.1)
        self.kept.close()
        self.manager.hold(self.kept.path)
        self.worker = self._start()

    def feed(self, rng: random.Random) -> None:
        """Register another batch of real files that expire soon."""
        paths = [self.base / f"{self.registered_files + i}" for i in range(BATCH)]
        for path in paths:
            path.write_bytes(b"x" * rng.randint(0, 2000))
        self.manager.register_many(paths, ttl=rng.uniform(0.1, 1))
        self.registered_files += BATCH

    def check(self) -> bool:
        """Check every invariant now. Returns whether there is work left."""
        stats = self.manager.stats()
        assert stats.imbalance == 0
        assert stats.records == stats.active
        assert stats.dead == stats.total("replaced") == 0
        # A worker was killed after it unlinked them, before its ack. There are never more than recovered files.
        assert stats.total("missing") <= stats.total("recovered")
        assert self.manager.registry.audit() == []
        return stats.waiting + stats.leased > 0

    def kill_at_work(self, rng: random.Random) -> None:
        """
        Kill the worker in the middle of a batch, when a random number of files are gone while it holds a lease. Do
        nothing if there is no such moment within a second.
        """
        goal = len(files_in(self.base)) - rng.randint(0, BATCH)
        patience = time.monotonic() + 1
        while not self.manager.stats().leased or len(files_in(self.base)) > goal:
            if time.monotonic() > patience:
                return
        self.worker.kill()
        self.kills += 1
        self.worker = self._start()

    def _start(self) -> Worker:
        return Worker(self.host, self.base, self.url, self.directory, **SLOW_ENOUGH_TO_BE_CAUGHT)


@pytest.mark.chaos
def test_workers_killed_at_random_lose_nothing_and_delete_nothing_twice(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with EmbeddedServer.start(tmp_path / "redis") as server, Beat(server.unix_url, tmp_path):
        sites = [Site(host, server.unix_url, tmp_path) for host in ("web-1", "web-2")]
        deadline = time.monotonic() + LIMIT_SECONDS
        try:
            while not enough(sites) or any([site.check() for site in sites]):
                assert time.monotonic() < deadline, [site.manager.stats().as_dict() for site in sites]
                for site in sites:
                    site.check()
                    if not enough(sites) and site.manager.stats().waiting < 2 * BATCH:
                        site.feed(rng)
                if not enough(sites):
                    rng.choice(sites).kill_at_work(rng)
        finally:
            for site in sites:
                site.worker.kill()
                print(site.host, site.registered_files, site.kills, site.manager.stats().as_dict())
        for site in sites:
            stats = site.manager.stats()
            assert [path.name for path in files_in(site.base)] == [Path(site.kept.path).name]
            assert [record.state for record in site.manager.records()] == [State.HELD]
            assert stats.total("deleted") + stats.total("missing") == site.registered_files
            assert stats.total("registered") == site.registered_files + 1


def enough(sites: list[Site]) -> bool:
    return (
        sum(site.registered_files for site in sites) >= FEWEST_FILES
        and sum(site.kills for site in sites) >= FEWEST_KILLS
        and sum(site.manager.stats().total("recovered") for site in sites) >= FEWEST_RECOVERED
    )
