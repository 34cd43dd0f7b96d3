"""
kombu's Redis transport, with one repair.

When Redis goes away while a task runs, kombu closes the connection and then asks its channel to give the task's
message back. The channel needs a new client for that, takes the address from the connection that is gone, and raises
AttributeError, which nobody expects there: the worker ends. As a connection error it is expected, and the worker
reconnects; the message comes back by its visibility timeout. Only processes that run our own app use it.
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
    """Have this process's ``redis://``, ``rediss://`` and ``redis+socket://`` connections repaired."""
    for scheme in ("redis", "rediss"):
        transports.TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
        transports._transport_cache.pop(scheme, None)  # what this process resolved before
