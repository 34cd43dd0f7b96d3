"""What happens in the demo, in order. Nothing is timed: each step waits for what it has seen happen."""

from __future__ import annotations

import time
from collections.abc import Callable

from tempfleet import RegistryError

from .checks import Facts
from .show import Show
from .stage import DemoFailed, Host, Stage

START_SECONDS = 40.0
LIMIT_SECONDS = 60.0
"""For everything after the start. It takes about 15 s; a machine under load takes longer."""

DISK_SECONDS = 5.0
"""A file leaves the disk before its record leaves the registry, so there is hardly anything to wait for."""

TTLS = (3, 5, 7)
"""Few different ones, so that files fall due together, as they do when an application makes them in batches."""

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
            DemoFailed: something did not start, or ended. What took too long is not an error: the facts tell.
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
        count = sum(each["written"] for each in written.values())
        self.show.step(
            f"{count:,} files are written; applications on both hosts register them, and create "
            f"{self.files - count:,} more"
        )
        for host, other in ((here, there), (there, here)):
            stage.tell(host, {"host": other.name, "paths": written[other.name]["for_messages"]})
        for host in stage.hosts:
            said = stage.read(host, within_seconds=LIMIT_SECONDS)
            self.by_library += said["registered"]
            self.by_message += said["sent"]
        done = self._wait(
            lambda: sum(each.total("registered") for each in stage.stats().values()) >= self.files,
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
        Look at the registry until it says that host-b's worker holds a lease, and kill that worker at this moment.

        Whether the kill came in time is looked at after the death, when nobody can give the lease back any more; if
        it did not, the worker is started again and the next lease is waited for.
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
            host.worker.kill()
            killed_at = time.monotonic()
            host.kills += 1
            self.show.state(host.name, "killed")
            host.leased_at_death = registry.stats().leased
            if host.leased_at_death:
                self.killed = host
                self.show.step(
                    f"kill -9 {pid}: {host.name}'s worker died holding {host.leased_at_death} leased files"
                )
            self._restart(host, killed_at)
        if self.killed:
            self.show.step(
                f"{host.name}'s worker is back; the lease runs out and its files are taken up again"
            )

    def _restart(self, host: Host, killed_at: float) -> None:
        self.stage.start_worker(host)
        self.show.state(host.name, "restarting")
        self._wait(lambda: self._is_heard(host, killed_at), within_seconds=START_SECONDS, cycle=0.05)
        self.show.state(host.name, "live")

    def _is_heard(self, host: Host, since: float) -> bool:
        """Whether the new worker of *host* has spoken: the one before it has been silent since its death."""
        (silent,) = (each.silent_seconds for each in self.stage.fleet.hosts() if each.name == host.name)
        return silent < time.monotonic() - since

    def _is_registry_empty(self) -> bool:
        return not any(each.active + each.behind for each in self.stage.stats().values())

    def _is_disk_empty(self) -> bool:
        return not any(map(self.stage.on_disk, self.stage.hosts))

    def _wait(self, condition: Callable[[], bool], *, within_seconds: float, cycle: float) -> bool:
        """Whether *condition* came true in time; shows the counts meanwhile, and that everybody is well."""
        deadline = time.monotonic() + within_seconds
        while not condition():
            if dead := self.stage.dead_children():
                raise DemoFailed(f"{'; '.join(dead)}.")
            if time.monotonic() > deadline:
                return False
            try:
                self.show.counts(self.stage.stats())
            except RegistryError as exc:
                raise DemoFailed(f"The registry is gone: {exc}") from exc
            time.sleep(cycle)
        self.show.counts(self.stage.stats())
        return True
