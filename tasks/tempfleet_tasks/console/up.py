"""
``tempfleet up``: everything that one host needs, in the foreground.

A private Redis unless a URL is set, a worker and a beat as child processes. Here they are watched, and started
again when they die. Their own settings come from the environment, as they would under any other supervisor.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tempfleet import RegistryUnavailable, Settings
from tempfleet.formatting import duration
from tempfleet.logs import printable
from tempfleet.registry import Fleet

from ..processes import ENDING_SIGNALS, Child, end_all

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 1.0, 30.0

CALM_SECONDS = 60.0
"""A child that has run so long has recovered; its next death is a first one."""

END_SECONDS = 20.0
"""Celery's soft shutdown is 10 s."""

QUICK = {"worker": ("--without-mingle", "--without-gossip")}
"""Asking other workers at the start takes a second, and there is nothing to ask them."""

Say = Callable[[str, str], None]
"""Prints one line of a speaker: tempfleet, worker or beat."""


def default_redis_url() -> str:
    """``embedded://`` in the user's state directory, or where there can be none, in the temp directory."""
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


def is_url_set(given: Mapping[str, str | None]) -> bool:
    """Whether somebody named a Redis, or a file that names one."""
    return is_said_itself(given) or Settings.is_configured("redis_url_file")


def is_said_itself(given: Mapping[str, str | None]) -> bool:
    return bool(given.get("redis_url") or Settings.is_configured("redis_url"))


class Service:
    """One child that should always run."""

    def __init__(self, kind: str, env: Mapping[str, str], say: Say) -> None:
        self.kind = kind
        self.env = env
        self.say = say
        self.deaths = 0
        self.start()

    def start(self) -> None:
        self.child = Child(self.kind, *QUICK.get(self.kind, ()), env=self.env)
        self.started = time.monotonic()
        self.start_at = 0.0
        threading.Thread(target=self._relay, args=(self.child,), daemon=True).start()

    def look_after(self) -> None:
        """Start it again, each time later, when it has died."""
        now = time.monotonic()
        if self.child.is_running():
            return
        if not self.start_at:
            self.deaths = 1 if now - self.started > CALM_SECONDS else self.deaths + 1
            delay = min(FIRST_DELAY_SECONDS * 2.0 ** (self.deaths - 1), LONGEST_DELAY_SECONDS)
            self.start_at = now + delay
            self.say(
                "tempfleet", f"{self.kind} {self.child.ending()}; it is started again in {duration(delay)}"
            )
        elif now >= self.start_at:
            self.child.close()
            self.start()

    def _relay(self, child: Child) -> None:
        try:
            for line in child.output:
                self.say(self.kind, printable(line.decode(errors="surrogateescape").rstrip("\n")))
        except ValueError:  # closed under us: it is gone
            pass


class Up:
    """
    Runs until a signal ends it. The second one ends it at once.

    Args:
        env: the environment of the children, with the settings of the command line in it.
        ready: called once, when the worker has been heard, with what a user should know.
    """

    def __init__(
        self, settings: Settings, fleet: Fleet, env: Mapping[str, str], say: Say, ready: Callable[[], Any]
    ) -> None:
        self.settings = settings
        self.fleet = fleet
        self.env = env
        self.say = say
        self.ready = ready
        self.signals = 0
        self.stopping = threading.Event()
        self.services: list[Service] = []

    def run(self) -> int:
        """The exit status: 0 when all ended in order."""
        previous = {number: signal.signal(number, self._signalled) for number in ENDING_SIGNALS}
        started = time.monotonic()
        try:
            self.services += [Service(kind, self.env, self.say) for kind in ("worker", "beat")]
            is_ready = False
            while not self.stopping.wait(0.2):
                for service in self.services:
                    service.look_after()
                if not is_ready and self._is_heard(started):
                    is_ready = True
                    self.ready()
        finally:
            late = self._end([service.child for service in self.services])
            for number, handler in previous.items():
                signal.signal(number, handler)
        self.say("tempfleet", "stopped" if not late else f"stopped; {len(late)} had to be killed")
        return 1 if late else 0

    def _is_heard(self, since: float) -> bool:
        try:
            hosts = {host.name: host.silent_seconds for host in self.fleet.hosts()}
        except RegistryUnavailable:
            return False
        silent = hosts.get(self.settings.host)
        return silent is not None and silent < time.monotonic() - since

    def _end(self, children: list[Child]) -> list[Child]:
        self.say("tempfleet", "ending: what is being deleted is finished (again to end at once) ...")
        return end_all(children, within_seconds=END_SECONDS)

    def _signalled(self, _number: int, _frame: object) -> None:
        self.signals += 1
        self.stopping.set()
        if self.signals > 1:
            for service in self.services:
                service.child.process.kill()
