"""
The keeper: a small process that starts the server of DIR, restarts it after a crash, and stops it if it had no client
for the grace time. It belongs to no terminal, no session and no client.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from ..errors import EmbeddedServerError
from .directory import CLIENTS_LOCK, KEEPER_LOCK, prepare
from .locks import FileLock
from .server import EmbeddedServer

GRACE_SECONDS = 3.0
TICK_SECONDS = 0.2

CALM_SECONDS = 60.0
"""After running for this long a server counts as recovered, and its earlier crashes no longer count."""

MAX_CRASHES = 6


def keep(directory: str, grace_seconds: float = GRACE_SECONDS) -> None:
    """Keep a server for *directory* in a detached process. Does nothing if it already has a keeper."""
    home = prepare(directory)
    os.chdir("/")
    os.umask(0o077)
    # The keeper ignores signals and ends after the last client: a signal to a whole service also ends the clients.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    lock = FileLock(home / KEEPER_LOCK)
    # Lock before detaching: when the starter's child has ended, DIR has a keeper, or the attempt has failed.
    if lock.acquire() and not os.fork():
        try:
            Keeper(home, lock, grace_seconds).run()
        except EmbeddedServerError as exc:
            sys.exit(_summary(exc))


class Keeper:
    """Watches one server, from its start or adoption until it has no client or its directory is gone."""

    def __init__(self, home: Path, lock: FileLock, grace_seconds: float) -> None:
        self.home = home
        self.lock = lock
        self.clients = FileLock(home / CLIENTS_LOCK)
        self.grace_seconds = grace_seconds
        self.crashes = 0
        self.started = self.last_used = time.monotonic()

    def run(self) -> None:
        self.server = EmbeddedServer.adopt(self.home) or EmbeddedServer.start(self.home)
        while self.is_wanted():
            if not self.lock.is_in_place():
                # The data is gone with the directory. An orderly stop would remove the socket of a successor.
                self.server.kill()
                return
            self.repair()
            time.sleep(TICK_SECONDS)
        self.server.stop()
        # Release this before clients.lock: new clients wait for that one, and must find DIR without a keeper.
        self.lock.release()

    def is_wanted(self) -> bool:
        """Returns False after the grace time. Then we keep clients.lock, so that no client connects until the end."""
        now = time.monotonic()
        if not self.clients.acquire():
            self.last_used = now
        elif now - self.last_used >= self.grace_seconds:
            return False
        else:
            self.clients.release()
        return True

    def repair(self) -> None:
        """Restart the server if it does not run or is not reachable."""
        if self.server.is_running() and not self.server.is_reachable():
            self.server.stop()
        if not self.server.is_running() and time.monotonic() >= self.started + self.back_off():
            self.restart()

    def back_off(self) -> float:
        """Seconds before the next start: 0 after the first crash, then doubling from half a second."""
        return 2.0 ** (self.crashes - 2) if self.crashes else 0.0

    def restart(self) -> None:
        """Restart the server, unless it crashed too often. Then the next client that connects tries."""
        now = time.monotonic()
        self.crashes = 1 if now - self.started > CALM_SECONDS else self.crashes + 1
        self.started = now
        if self.crashes > MAX_CRASHES:
            raise EmbeddedServerError(f"the server ended {self.crashes} times; it is not restarted")
        try:
            self.server = EmbeddedServer.start(self.home)
        except EmbeddedServerError as exc:
            print(_summary(exc), flush=True)


def _summary(exc: EmbeddedServerError) -> str:
    """Returns the message without the end of the log, because it is written into that log."""
    return f"tempfleet: {str(exc).splitlines()[0]}"
