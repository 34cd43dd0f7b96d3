"""The steps of the demo, in order. No step waits for a fixed time; each waits for an event that it can see."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from tempfleet import RegistryError
from tempfleet.registry import Registry

from .checks import Facts
from .show import Show
from .stage import DemoFailed, Host, Stage

START_SECONDS = 40.0
LIMIT_SECONDS = 60.0
"""For everything after the start. It takes about 15 s, and longer on a loaded machine."""

DISK_SECONDS = 5.0
"""A file is unlinked before its record is dropped, so there is hardly anything to wait for."""

TTLS = (3, 5, 7)
"""Few different values, so that files expire together, like files that an application creates in batches."""

MESSAGE_SHARE = 0.35


class Play:
    def __init__(self, stage: Stage, show: Show, *, files: int) -> None:
        self.stage = stage
        self.show = show
        self.files = files
        self.began = time.monotonic()
        self.end = self.began + START_SECONDS + LIMIT_SECONDS
        self.by_library = self.by_message = 0
        self.killed: Host | None = None

    def run(self) -> Facts:
        """
        Raises:
            DemoFailed: a process did not start, or ended. A step that took too long is no error; the checks show it.
        """
        self._start()
        self._register()
        self._kill_and_restart()
        if self._wait(self._is_registry_empty, within_seconds=self.end - time.monotonic(), cycle=0.1):
            self._wait(self._is_disk_empty, within_seconds=DISK_SECONDS, cycle=0.1)
        self.show.step("Ending the workers and the beat")
        seconds = time.monotonic() - self.began
        self.stage.end_all()
        return Facts(
            files=self.files,
            by_library=self.by_library,
            by_message=self.by_message,
            stats=self.stage.stats(),
            on_disk={host.name: self.stage.on_disk(host) for host in self.stage.hosts},
            killed=self.killed.name if self.killed else "",
            held=self.killed.leased_at_death if self.killed else 0,
            seconds=seconds,
        )

    def _start(self) -> None:
        stage = self.stage
        self.show.step(f"A private Redis runs on {stage.redis}")
        for host in stage.hosts:
            stage.start_worker(host)
        stage.start_beat()
        counts = [self.files // 2, self.files - self.files // 2]
        for host, count in zip(stage.hosts, counts, strict=True):
            stage.start_producer(host, count, round(count * MESSAGE_SHARE), *TTLS)
        names = {host.name for host in stage.hosts}
        if not self._wait(
            lambda: stage.fleet.live_hosts() >= names, within_seconds=START_SECONDS, cycle=0.05
        ):
            raise DemoFailed(f"The workers did not start within {START_SECONDS:.0f} s.")
        self.show.step(
            "Two hosts are live, each with a Celery worker on its own queue; beat sweeps every second"
        )

    def _register(self) -> None:
        stage = self.stage
        here, there = stage.hosts
        written = {host.name: stage.read(host, within_seconds=START_SECONDS) for host in stage.hosts}
        count = sum(answer["written"] for answer in written.values())
        self.show.step(
            f"{count:,} files are written; applications on both hosts register them and create "
            f"{self.files - count:,} more"
        )
        for host, other in ((here, there), (there, here)):
            stage.send(host, {"host": other.name, "paths": written[other.name]["for_messages"]})
        for host in stage.hosts:
            answer = stage.read(host, within_seconds=LIMIT_SECONDS)
            self.by_library += answer["registered"]
            self.by_message += answer["sent"]
        done = self._wait(
            lambda: sum(stats.total("registered") for stats in stage.stats().values()) >= self.files,
            within_seconds=self.end - time.monotonic(),
            cycle=0.02,
        )
        if done:
            self.show.step(
                f"{self.files:,} are registered: {self.by_library:,} by the library, {self.by_message:,} by messages "
                "from the other host"
            )

    def _kill_and_restart(self) -> None:
        """
        Read the registry until host-b's worker holds a lease, and kill that worker at this moment.

        The worker is stopped first (SIGSTOP), because it holds a lease for a few milliseconds only. If the lease has
        ended by then, the worker goes on, and the next lease is awaited. Read the registry again after the kill,
        because now nobody can give the lease back.
        """
        host = self.stage.hosts[1]
        registry = self.stage.fleet.registry(host.volume)
        self.show.step(f"Waiting for {host.name}'s worker to hold a lease")
        while self.killed is None and time.monotonic() < self.end:
            stats = registry.stats()
            self.show.counts({host.name: stats})
            if not stats.active:
                return
            if not stats.leased:
                continue
            assert host.worker is not None
            pid = host.worker.pid
            if not _stops_with_lease(pid, registry):
                continue
            host.worker.kill()
            killed_at = time.monotonic()
            host.kills += 1
            self.show.state(host.name, "killed")
            host.leased_at_death = registry.stats().leased
            if host.leased_at_death:
                self.killed = host
                self.show.step(
                    f"kill -9 {pid}: {host.name}'s worker died with {host.leased_at_death} leased files"
                )
            self._restart(host, killed_at)
        if self.killed:
            self.show.step(
                f"{host.name}'s worker is back; when the lease expires, its files are claimed again"
            )

    def _restart(self, host: Host, killed_at: float) -> None:
        self.stage.start_worker(host)
        self.show.state(host.name, "restarting")
        self._wait(lambda: self._has_heartbeat(host, killed_at), within_seconds=START_SECONDS, cycle=0.05)
        self.show.state(host.name, "live")

    def _has_heartbeat(self, host: Host, since: float) -> bool:
        """Whether the new worker of *host* has sent a heartbeat; the killed one sends none after *since*."""
        (silent,) = (other.silent_seconds for other in self.stage.fleet.hosts() if other.name == host.name)
        return silent < time.monotonic() - since

    def _is_registry_empty(self) -> bool:
        return not any(stats.active + stats.behind for stats in self.stage.stats().values())

    def _is_disk_empty(self) -> bool:
        return not any(map(self.stage.on_disk, self.stage.hosts))

    def _wait(self, condition: Callable[[], bool], *, within_seconds: float, cycle: float) -> bool:
        """
        Returns whether *condition* came true in time. Shows the counts meanwhile.

        Raises:
            DemoFailed: a process ended, or the registry cannot be reached.
        """
        deadline = time.monotonic() + within_seconds
        while not condition():
            if endings := self.stage.unexpected_endings():
                raise DemoFailed(f"{'; '.join(endings)}.")
            if time.monotonic() > deadline:
                return False
            try:
                self.show.counts(self.stage.stats())
            except RegistryError as exc:
                raise DemoFailed(f"The registry cannot be reached: {exc}") from exc
            time.sleep(cycle)
        self.show.counts(self.stage.stats())
        return True


def _stops_with_lease(pid: int, registry: Registry) -> bool:
    """Stop the worker *pid*. Returns whether it still holds a lease; otherwise it goes on."""
    os.kill(pid, signal.SIGSTOP)
    leased = False
    try:
        leased = registry.stats().leased > 0
    finally:
        if not leased:
            os.kill(pid, signal.SIGCONT)
    return leased
