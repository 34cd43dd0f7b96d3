"""
Scaling: workers of a shared disk start and end, by SIGTERM and SIGKILL, while its files expire. The backlog is visible
also while no worker runs, because a scaler needs it then.
"""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from processes import Beat, Worker, files_in, manager_of
from stack import fetch
from support import console, console_env, wait_until
from tempfleet import TempFileManager
from tempfleet.embedded import EmbeddedServer

HOST = "shared-disk"
FEWEST_EVENTS = 8
BATCH = 60
SMALL_STEPS = {"TEMP_FILE_CLEANUP_BATCH_SIZE": "20", "TEMP_FILE_CLEANUP_THREADS": "1"}


class Crowd:
    """The workers that serve one disk now, as a scaler starts and ends them."""

    def __init__(self, base: Path, url: str, directory: Path) -> None:
        self.base, self.url, self.directory = base, url, directory
        self.workers: list[Worker] = []
        self.started = 0
        self.ends = {"SIGTERM": 0, "SIGKILL": 0}

    def grow(self) -> None:
        self.started += 1
        place = self.directory / f"worker-{self.started}"
        place.mkdir()
        name = f"tempfleet-{self.started}@{HOST}"
        self.workers.append(Worker(HOST, self.base, self.url, place, arguments=("-n", name), **SMALL_STEPS))

    def shrink(self, rng: random.Random) -> None:
        """End one worker: by SIGTERM as in a scale-down, or by SIGKILL as when its machine fails."""
        worker = self.workers.pop(rng.randrange(len(self.workers))).wait_until_ready()
        how = min(self.ends, key=lambda name: self.ends[name])
        self.ends[how] += 1
        if how == "SIGKILL":
            worker.kill()
        else:
            assert worker.stop() == 0, worker.output[-4000:]

    def end(self) -> None:
        for worker in self.workers:
            worker.kill()


def feed(manager: TempFileManager, rng: random.Random, fed: int) -> int:
    paths = [Path(manager.base_dir) / f"{fed + i}" for i in range(BATCH)]
    for path in paths:
        path.write_bytes(b"x" * rng.randint(0, 2000))
    manager.register_many(paths, ttl=rng.uniform(0.1, 1))
    return fed + BATCH


@pytest.mark.chaos
def test_workers_start_and_end_while_files_expire_and_nothing_is_lost(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng, url, base = random.Random(seed), server.unix_url, tmp_path / "base"
    manager, crowd, fed = manager_of(HOST, base, url), Crowd(base, url, tmp_path), 0
    with ExitStack() as ends, Beat(url, tmp_path):
        ends.callback(crowd.end)
        crowd.grow()
        while sum(crowd.ends.values()) < FEWEST_EVENTS:
            while len(crowd.workers) < 3:
                crowd.grow()
            fed = feed(manager, rng, fed)
            wait_until(lambda: manager.stats().due or manager.stats().leased or not manager.stats().waiting)
            crowd.shrink(rng)
            stats = manager.stats()
            assert (stats.imbalance, stats.dead, manager.registry.audit()) == (0, 0, [])
            # A worker was killed after it unlinked them, before its ack.
            assert stats.total("missing") <= stats.total("recovered")
        wait_until(lambda: manager.stats().active == 0, 90)
    stats = manager.stats()
    assert files_in(base) == []
    assert stats.total("deleted") + stats.total("missing") == stats.total("registered") == fed
    assert (stats.total("replaced"), stats.total("buried"), stats.imbalance) == (0, 0, 0)
    assert min(crowd.ends.values()) >= FEWEST_EVENTS // 2
    manager.close()


@pytest.fixture
def exporter(server: EmbeddedServer, tmp_path: Path) -> Iterator[str]:
    """The URL of ``tempfleet exporter`` on a machine that is not a host of the fleet."""
    env = console_env(
        tmp_path, TEMP_FILE_REDIS_URL=server.unix_url, TEMP_FILE_HOST="desk", TEMP_FILE_BASE_DIR=str(tmp_path / "desk")
    )  # fmt: skip
    with console("exporter", "--port=0", env=env, stdout=subprocess.PIPE) as process:
        url = re.search(r"http://\S+/metrics", process.stdout.readline())  # type: ignore[union-attr]
        assert url
        yield url[0]
        process.terminate()
        assert process.wait(20) == 0


def backlog(url: str) -> dict[str, float]:
    """Returns the expired files of each host, added up as by the rule ``host:temp_files_due:sum``."""
    due: dict[str, float] = {}
    for family in text_string_to_metric_families(fetch(url)[1]):
        if family.name == "temp_files_due":
            for sample in family.samples:
                due[sample.labels["host"]] = due.get(sample.labels["host"], 0) + sample.value
    return due


def test_the_backlog_of_each_host_is_visible_without_a_worker_and_falls_when_one_starts(
    server: EmbeddedServer, tmp_path: Path, exporter: str
) -> None:
    url = server.unix_url
    volumes = {"web-1": ["a", "b"], HOST: ["c"]}
    managers = {
        name: manager_of(host, tmp_path / name, url) for host, names in volumes.items() for name in names
    }
    for count, (name, manager) in enumerate(managers.items(), start=1):
        paths = [tmp_path / name / str(i) for i in range(10 * count)]
        for path in paths:
            path.touch()
        manager.register_many(paths, ttl=0.05)
        # Not expired, so not a reason to start a worker.
        manager.create(ttl=600).close()
    wait_until(lambda: backlog(exporter) == {"web-1": 10 + 20, HOST: 30})
    with Worker(HOST, tmp_path / "c", url, tmp_path), Beat(url, tmp_path):
        wait_until(lambda: backlog(exporter) == {"web-1": 30, HOST: 0}, 60)
        # What is being deleted is no backlog any more, but a worker that ends hands it back.
        wait_until(lambda: [manager.stats().active for manager in managers.values()] == [11, 21, 1])
    for manager in managers.values():
        manager.close()
