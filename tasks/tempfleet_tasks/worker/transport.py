"""
Three repairs of kombu's Redis transport. They are in its class ``Channel``, so that every connection of the process has
them: also those of an app's own transport, of ``sentinel://``, and those that exist already.

A closed connection. If Redis goes away while a task runs, kombu 5.7 closes the connection and then lets its channel
return the task's message. For that the channel needs a new client. It reads the address from the closed connection and
raises AttributeError, which ends the worker. Here it raises a connection error, as the worker expects. The worker then
reconnects, and the message returns after its visibility timeout.

A demoted primary. After a fail-over, a connection stays with the old server, which accepts no writes. Here it is
closed, and the caller gets a connection error, so that it connects again. redis-py does the same for ``sentinel://``.

A silent server. If a firewall forgets a connection, nobody closes it, and no answer ever comes. Here each connection
knows since when it waits. kombu asks for messages every second, and the server answers even if there are none. So an
answer that is overdue for some seconds means that the server cannot be reached on this connection. ``leave_silent``
ends it, and the worker reconnects. kombu 5.7 notices it too, but later, and not while it publishes.
"""

from __future__ import annotations

import functools
import math
import os
import re
import select
import socket
import time
import weakref
from typing import Any

from kombu.transport import redis as kombu_redis

from tempfleet.logs import logger

DEMOTED = re.compile(r"\b(READONLY|MASTERDOWN|UNBLOCKED)\b|read only replica|Link with MASTER is down")

SILENT_SECONDS = 20.0
"""A broker that has not answered for so long cannot be reached on this connection."""

_connections: weakref.WeakValueDictionary[int, BrokerConnection] = weakref.WeakValueDictionary()
"""Every connection of this process to a Redis broker, by its id."""

# A forked child shares the sockets of its parent, and must not end them.
os.register_at_fork(after_in_child=_connections.clear)


class BrokerConnection:
    """
    Mixed into the connection class that kombu chose.

    Attributes:
        asked_at: when the oldest command was sent that has no answer yet, by the monotonic clock; None if all have one.
        answered_at: when the last answer came.
        blocking_seconds: for how long the server may wait for a message before it answers.
    """

    asked_at: float | None = None
    answered_at = 0.0
    blocking_seconds = 0.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        _connections[id(self)] = self

    def send_packed_command(self, *args: Any, **options: Any) -> None:
        super().send_packed_command(*args, **options)  # type: ignore[misc]
        if self.asked_at is None:
            self.asked_at = time.monotonic()

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            response = super().read_response(*args, **options)  # type: ignore[misc]
        except kombu_redis.exceptions.ResponseError as exc:
            self._note_answer()
            if not DEMOTED.search(str(exc)):
                raise
            self.disconnect()
            raise kombu_redis.exceptions.ConnectionError(
                f"this Redis is not the primary any more: {exc}"
            ) from exc
        self._note_answer()
        return response

    def disconnect(self, *args: Any, **options: Any) -> None:
        self.asked_at = None
        super().disconnect(*args, **options)  # type: ignore[misc]

    def overdue_seconds(self) -> float:
        """Returns for how long the server owes an answer. One that has arrived, but was not read yet, is not owed."""
        asked_at, sock = self.asked_at, self._sock  # type: ignore[attr-defined]
        if asked_at is None or sock is None or _has_data(sock):
            return 0.0
        return max(time.monotonic() - asked_at - self.blocking_seconds, 0.0)

    def end(self) -> None:
        """Let the thread that reads get an end of file; a pool then connects anew. To close the socket is not safe."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        except (OSError, AttributeError):
            # It was closed in the meantime.
            pass

    def _note_answer(self) -> None:
        self.asked_at = None
        self.answered_at = time.monotonic()


def repair() -> None:
    """Repair the Redis transport of this process. Does nothing the second time, or if kombu has another shape."""
    original = getattr(kombu_redis.Channel, "_connparams", None)
    if original is None or hasattr(original, "repaired"):
        return

    @functools.wraps(original)
    def connparams(channel: Any, *args: Any, **options: Any) -> Any:
        if getattr(channel.connection, "client", None) is None:
            raise kombu_redis.exceptions.ConnectionError("the connection to the broker was closed")
        params = original(channel, *args, **options)
        chosen = params.get("connection_class") if isinstance(params, dict) else None
        if isinstance(chosen, type):
            # The app's polling_interval; 0 is to wait for ever. kombu's default is 1 s.
            seconds = getattr(channel, "brpop_timeout", 1)
            longer = {"blocking_seconds": math.inf if not seconds else max(seconds - 1, 0)}
            params["connection_class"] = type(chosen.__name__, (BrokerConnection, chosen), longer)
        return params

    connparams.repaired = True  # type: ignore[attr-defined]
    kombu_redis.Channel._connparams = connparams


def silent_seconds() -> float:
    """Returns for how long a Redis broker of this process owes an answer; 0 if it owes none."""
    return max((link.overdue_seconds() for link in _all_connections()), default=0.0)


def leave_silent() -> None:
    """End connections to a broker that has not answered for SILENT_SECONDS, with all that have been as silent."""
    links = _all_connections()
    silent = [link for link in links if link.overdue_seconds() >= SILENT_SECONDS]
    if not silent:
        return
    since = min(link.asked_at or 0.0 for link in silent)
    logger.warning("The broker has not answered for %.0f s; reconnecting", time.monotonic() - since)
    for link in links:
        if link.answered_at < since:
            link.end()


def _all_connections() -> list[BrokerConnection]:
    return [link for ref in _connections.valuerefs() if (link := ref()) is not None]


def _has_data(sock: Any) -> bool:
    """Whether an answer has arrived that nobody has read yet, because the worker is busy."""
    poll = select.poll()
    try:
        poll.register(sock, select.POLLIN)
    except ValueError:
        # It was closed in the meantime.
        return True
    return bool(poll.poll(0))
