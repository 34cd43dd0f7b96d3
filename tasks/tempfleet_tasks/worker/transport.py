"""
kombu's Redis transport, with one repair.

If Redis goes away while a task runs, kombu closes the connection and then lets its channel return the task's message.
For that the channel needs a new client. It reads the address from the closed connection and raises AttributeError,
which ends the worker. A connection error is expected there: the worker reconnects, and the message returns after its
visibility timeout. Only processes that run our own app use this transport.
"""

from __future__ import annotations

from typing import Any

from kombu import transport as transports
from kombu.transport import redis


class Channel(redis.Channel):  # type: ignore[misc]
    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection.client is None:
            raise ConnectionError("the connection to the broker was closed")
        return super()._connparams(asynchronous=asynchronous)


class Transport(redis.Transport):  # type: ignore[misc]
    Channel = Channel


def use() -> None:
    """Use the repaired transport for this process's ``redis://``, ``rediss://`` and ``redis+socket://`` connections."""
    for scheme in ("redis", "rediss"):
        transports.TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
        # Forget what this process resolved before.
        transports._transport_cache.pop(scheme, None)
