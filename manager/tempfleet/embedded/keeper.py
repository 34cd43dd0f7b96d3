"""
The keeper: a small process of its own that starts DIR's server, starts it again when it crashed, and stops it
when nobody has used it for the grace time. It belongs to no terminal, no session and no user of the server.
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
"""A server that has run so long has recovered: its earlier crashes are forgotten."""

MAX_CRASHES = 6


def keep(directory: str, grace_seconds: float = GRACE_SECONDS) -> None:
    """Keep a server for *directory* in a detached process; nothing happens when somebody keeps it already."""
    home = prepare(directory)
    os.chdir("/")
    os.umask(0o077)
    # Asked to end, it still ends with the last user: a signal to a whole service reaches the users as well.
    for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(asked, lambda *_: None)
    lock = FileLock(home / KEEPER_LOCK)
    # Locked before detaching: once the starter's child has ended, DIR is kept or the attempt is over.
    if lock.acquire() and not os.fork():
        try:
            Keeper(home, lock, grace_seconds).run()
        except EmbeddedServerError as exc:
            sys.exit(_said(exc))


class Keeper:
    """Watches one server, from its start or adoption until nobody uses it or its directory is gone."""

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
                # The data went with the directory; an orderly end would remove a successor's socket.
                self.server.kill()
                return
            self.repair()
            time.sleep(TICK_SECONDS)
        self.server.stop()
        # Before clients.lock, which those who come now wait for: they must find DIR unkept.
        self.lock.release()

    def is_wanted(self) -> bool:
        """False after the grace time; then clients.lock stays ours, so that nobody comes in until the end."""
        now = time.monotonic()
        if not self.clients.acquire():
            self.last_used = now
        elif now - self.last_used >= self.grace_seconds:
            return False
        else:
            self.clients.release()
        return True

    def repair(self) -> None:
        """Have a server again where there is none, or none that can be reached."""
        if self.server.is_running() and not self.server.is_reachable():
            self.server.stop()
        if not self.server.is_running() and time.monotonic() >= self.started + self.back_off():
            self.restart()

    def back_off(self) -> float:
        """Seconds between two starts: none after the first crash, then doubling from half a second."""
        return 2.0 ** (self.crashes - 2) if self.crashes else 0.0

    def restart(self) -> None:
        """Start it once more, unless it crashed too often: then whoever connects next may try."""
        now = time.monotonic()
        self.crashes = 1 if now - self.started > CALM_SECONDS else self.crashes + 1
        self.started = now
        if self.crashes > MAX_CRASHES:
            raise EmbeddedServerError(f"the server ended {self.crashes} times; giving it up")
        try:
            self.server = EmbeddedServer.start(self.home)
        except EmbeddedServerError as exc:
            print(_said(exc), flush=True)


def _said(exc: EmbeddedServerError) -> str:
    """The message without the end of the log: it goes into that log."""
    return f"tempfleet: {str(exc).splitlines()[0]}"
