"""
``tempfleet up``: everything that one host needs, in the foreground.

It starts a private Redis, unless a URL is set, and a worker and a beat as child processes. It restarts those that end.
Their settings come from the environment, as under any other supervisor.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from tempfleet import RegistryUnavailable, Settings
from tempfleet.formatting import duration
from tempfleet.logs import printable
from tempfleet.registry import Fleet

from ..processes import ENDING_SIGNALS, Child, end_all

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 1.0, 30.0

CALM_SECONDS = 60.0
"""After running for this long, a child counts as recovered: its next end counts as the first one."""

END_SECONDS = 20.0
"""Time for the children to end; Celery's soft shutdown takes up to 10 s."""

QUICK = {"worker": ("--without-mingle", "--without-gossip")}
"""Asking other workers at the start takes a second, and gives no information that is needed here."""

PrintLine = Callable[[str, str], None]
"""Prints one line, after the name of the program that wrote it: tempfleet, worker or beat."""


def default_redis_url() -> str:
    """Returns an ``embedded://`` URL in the user's state directory; if that is not writable, in the temp directory."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    for directory in (Path(state), Path(tempfile.gettempdir()) / f"tempfleet-state-{os.geteuid()}"):
        home = directory / "tempfleet" / "redis"
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(home, os.W_OK | os.X_OK) and home.is_absolute():
            return f"embedded://{quote(str(home))}"
    return f"embedded://{quote(tempfile.mkdtemp(prefix='tempfleet-redis-'))}"


def is_url_set(options: Mapping[str, str | None]) -> bool:
    """Whether a Redis URL, or a file with one, is set in *options* or in the environment."""
    return is_url_set_directly(options) or Settings.is_configured("redis_url_file")


def is_url_set_directly(options: Mapping[str, str | None]) -> bool:
    return bool(options.get("redis_url") or Settings.is_configured("redis_url"))


class Service:
    """One child that should always run."""

    def __init__(self, kind: str, env: Mapping[str, str], print_line: PrintLine) -> None:
        self.kind = kind
        self.env = env
        self.print_line = print_line
        self.ends = 0
        self.start()

    def start(self) -> None:
        self.child = Child(self.kind, *QUICK.get(self.kind, ()), env=self.env)
        self.started = time.monotonic()
        self.start_at = 0.0
        threading.Thread(target=self._relay, args=(self.child,), daemon=True).start()

    def restart_if_ended(self) -> None:
        """Start the child again if it has ended, each time after a longer delay."""
        now = time.monotonic()
        if self.child.is_running():
            return
        if not self.start_at:
            self.ends = 1 if now - self.started > CALM_SECONDS else self.ends + 1
            delay = min(FIRST_DELAY_SECONDS * 2.0 ** (self.ends - 1), LONGEST_DELAY_SECONDS)
            self.start_at = now + delay
            ending = f"{self.kind} {self.child.ending()}; restarting it in {duration(delay)}"
            self.print_line("tempfleet", ending)
        elif now >= self.start_at:
            self.child.close()
            self.start()

    def _relay(self, child: Child) -> None:
        try:
            for line in child.output:
                self.print_line(self.kind, printable(line.decode(errors="surrogateescape").rstrip("\n")))
        except ValueError:
            # Another thread closed the pipe after the child ended.
            pass


class Up:
    """
    Runs until a signal ends it. A second signal ends it at once.

    Args:
        env: the environment of the children, with the settings of the command line in it.
        on_ready: called once, after the worker's first heartbeat.
    """

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        env: Mapping[str, str],
        print_line: PrintLine,
        on_ready: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.fleet = fleet
        self.env = env
        self.print_line = print_line
        self.on_ready = on_ready
        self.signals = 0
        self.stopping = threading.Event()
        self.services: list[Service] = []

    def run(self) -> int:
        """Returns the exit status: 0 if all children ended in order."""
        previous = {number: signal.signal(number, self._signalled) for number in ENDING_SIGNALS}
        started = time.monotonic()
        try:
            self.services += [Service(kind, self.env, self.print_line) for kind in ("worker", "beat")]
            is_ready = False
            while not self.stopping.wait(0.2):
                for service in self.services:
                    service.restart_if_ended()
                if not is_ready and self._has_heartbeat(started):
                    is_ready = True
                    self.on_ready()
        finally:
            killed = self._end([service.child for service in self.services])
            for number, handler in previous.items():
                signal.signal(number, handler)
        self.print_line("tempfleet", f"stopped; {len(killed)} had to be killed" if killed else "stopped")
        return 1 if killed else 0

    def _has_heartbeat(self, since: float) -> bool:
        try:
            hosts = {host.name: host.silent_seconds for host in self.fleet.hosts()}
        except RegistryUnavailable:
            return False
        silent = hosts.get(self.settings.host)
        return silent is not None and silent < time.monotonic() - since

    def _end(self, children: list[Child]) -> list[Child]:
        self.print_line(
            "tempfleet", "stopping after the current deletions; press Ctrl-C again to stop at once ..."
        )
        return end_all(children, within_seconds=END_SECONDS)

    def _signalled(self, _number: int, _frame: object) -> None:
        self.signals += 1
        self.stopping.set()
        if self.signals > 1:
            for service in self.services:
                service.child.process.kill()
