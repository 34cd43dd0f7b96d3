"""
The stage of the demo: a new temporary directory with a Redis in it, two hosts, their workers and one beat.

When the block of the stage ends, for any reason, every process is ended and the directory is removed.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from tempfleet import TempfleetError, Volume, VolumeStats
from tempfleet.embedded import KEEPER_LOCK, disconnect_url, is_locked
from tempfleet.embedded import connect as connect_embedded
from tempfleet.filesystem import CLOCK
from tempfleet.registry import Fleet, Store, connect
from tempfleet.settings import variables

from ..processes import Child, Interrupts, end_all

LEASE_SECONDS = 2
INTERVAL_SECONDS = 1
BATCH_SIZE = 50

SETTINGS = {
    "TEMP_FILE_LEASE": str(LEASE_SECONDS),
    "TEMP_FILE_CLEANUP_INTERVAL": str(INTERVAL_SECONDS),
    "TEMP_FILE_CLEANUP_BATCH_SIZE": str(BATCH_SIZE),
    "TEMP_FILE_CLEANUP_THREADS": "1",
    "TEMP_FILE_HEARTBEAT": "1",
    "TEMP_FILE_HOST_LIVE_FOR": "4",
    "TEMP_FILE_RETRY_DELAY": "1",
}
"""Times are seconds here instead of minutes; nothing else is different."""

END_SECONDS = 20.0


class DemoFailed(TempfleetError):
    """The demo could not continue."""


@dataclass(slots=True)
class Host:
    """A simulated host: a name, a base directory, a queue, and the worker that serves them."""

    name: str
    volume: Volume
    worker: Child | None = None
    producer: Child | None = None
    kills: int = 0
    leased_at_death: int = 0
    log: Path = field(default_factory=Path)


class Stage:
    def __init__(self, interrupts: Interrupts) -> None:
        self.interrupts = interrupts
        self._cleanup = ExitStack()
        self.children: list[Child] = []
        self.logs: dict[str, Path] = {}

    def __enter__(self) -> Stage:
        try:
            self._set_up()
        except BaseException:
            self.interrupts.hold_back()
            self._cleanup.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The cleanup takes seconds, and an interrupt must not end it half way.
        self.interrupts.hold_back()
        self._cleanup.close()

    def _set_up(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tempfleet-demo-")).resolve()
        self._cleanup.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.redis = self.directory / "redis"
        self.url = f"embedded://{quote(str(self.redis))}"
        self._cleanup.callback(self._end_redis)
        socket = connect_embedded(str(self.redis), grace_seconds=0.5)
        self.fleet = Fleet(Store(connect(f"unix://{quote(socket)}?db=0")), live_seconds=4)
        self._cleanup.callback(self.fleet.store.client.close)
        self._cleanup.callback(self._kill_all)
        self.hosts = [Host(name, Volume(name, str(self.directory / name))) for name in ("host-a", "host-b")]

    # -- processes

    def start_worker(self, host: Host) -> None:
        host.worker = self._start("worker", host, "worker", "--without-mingle", "--without-gossip")

    def start_beat(self) -> None:
        self.beat = self._start("beat", self.hosts[0], "beat")

    def start_producer(self, host: Host, *arguments: int) -> None:
        host.producer = self._start(
            "producer", host, *map(str, arguments), module="tempfleet_tasks.demo.producer"
        )

    def _start(self, kind: str, host: Host, *arguments: str, module: str | None = None) -> Child:
        name = "beat" if kind == "beat" else f"{kind} of {host.name}"
        self.logs[name] = self.directory / f"{name.replace(' ', '-')}.log"
        # An interrupt between the start and the append would leave a process that nobody ends.
        with self.interrupts.held_back(), self.logs[name].open("ab") as log:
            child = (
                Child(*arguments, module=module, env=self._env(host), errors=log)
                if module
                else Child(*arguments, env=self._env(host), output=log)
            )
            self.children.append(child)
        return child

    def _env(self, host: Host) -> dict[str, str]:
        own = {
            "TEMP_FILE_REDIS_URL": self.url,
            "TEMP_FILE_HOST": host.name,
            "TEMP_FILE_BASE_DIR": host.volume.base_dir,
            # Ignore a .env in the current directory.
            "TEMP_FILE_ENV_FILE": "",
            # Outside the base directory, so that on_disk() can count all its files.
            "TEMP_FILE_AUDIT_LOG": f"{host.volume.base_dir}.audit.log",
        }
        clean = {name: value for name, value in os.environ.items() if name not in variables().values()}
        return clean | SETTINGS | own

    def read(self, host: Host, *, within_seconds: float) -> dict[str, Any]:
        """
        Returns the next document of the host's producer.

        Raises:
            DemoFailed: it ended, or did not answer in that time.
        """
        assert host.producer is not None
        if select.select([host.producer.output], [], [], within_seconds)[0] and (
            line := host.producer.output.readline()
        ):
            answer: dict[str, Any] = json.loads(line)
            return answer
        raise DemoFailed(f"The application on {host.name} {host.producer.ending()} and did not answer.")

    def send(self, host: Host, document: dict[str, Any]) -> None:
        assert host.producer is not None and host.producer.process.stdin is not None
        host.producer.process.stdin.write(json.dumps(document).encode() + b"\n")
        host.producer.process.stdin.flush()

    def end_all(self) -> None:
        """End all processes in order, so that they record all their counts."""
        end_all(self.children, within_seconds=END_SECONDS)

    def unexpected_endings(self) -> list[str]:
        """Describes each worker or beat that has ended."""
        children = {f"worker of {host.name}": host.worker for host in self.hosts} | {"beat": self.beat}
        return [
            f"{name} {child.ending()}" for name, child in children.items() if child and not child.is_running()
        ]

    def log_ends(self, lines: int = 12) -> dict[str, list[str]]:
        """Returns the last *lines* of each log that is not empty."""
        ends = {
            name: log.read_text(errors="replace").splitlines()[-lines:] for name, log in self.logs.items()
        }
        return {name: end for name, end in ends.items() if end}

    # -- counts

    def stats(self) -> dict[str, VolumeStats]:
        """Returns each host's counts, in one round trip."""
        by_volume = self.fleet.stats(host.volume for host in self.hosts)
        return {volume.host: stats for volume, stats in by_volume.items()}

    def on_disk(self, host: Host) -> int:
        """Returns the number of files and other objects, except directories and our record, in the base directory."""
        return sum(name != CLOCK for _, _, files in os.walk(host.volume.base_dir) for name in files)

    # -- the end

    def _kill_all(self) -> None:
        for child in self.children:
            child.kill()
            child.close()

    def _end_redis(self) -> None:
        """Disconnect the last user; half a second later the keeper stops Redis."""
        disconnect_url(self.url)
        deadline = time.monotonic() + END_SECONDS
        while is_locked(self.redis / KEEPER_LOCK) and time.monotonic() < deadline:
            time.sleep(0.02)
