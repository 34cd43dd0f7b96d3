"""Connect to Redis, and translate its errors into ours."""

from __future__ import annotations

import re
import socket
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from ..errors import (
    RegistryDenied,
    RegistryError,
    RegistryFull,
    RegistryUnavailable,
    SchemaMismatch,
    SettingsError,
)
from ..settings import without_password
from .keys import SCHEMA, UNFINISHED_SCHEMA

KEEPALIVE = {
    getattr(socket, name): value
    for name, value in (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}
"""An idle connection that a firewall has forgotten ends after 35 s; by the kernel's own values after two hours."""

NOT_NOW = re.compile(
    r"\b(READONLY|NOREPLICAS|MISCONF|MASTERDOWN|UNBLOCKED|CLUSTERDOWN|TRYAGAIN|BUSY)\b|read only replica"
)
"""Errors of a server that accepts no writes for a while: it fails over, has no replicas, or cannot save."""

NOT_NOW_ERRORS = (
    redis.exceptions.ReadOnlyError,
    redis.exceptions.MasterDownError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)
"""The same errors, if redis-py has a class for them: it removes the code from their text."""


TIMEOUT_SECONDS = 5.0


def connect(url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> redis.Redis:
    """
    Returns a client for *url* that gives up in bounded time. It connects at its first command.

    *timeout_seconds* bounds the connecting and each answer. The default is far above the time of any script, and short
    enough for a call in the middle of a program. After a fork, the child opens its own connections.

    Raises:
        SettingsError: *url* is not a valid Redis URL.
    """
    tcp: dict[str, Any] = {}
    if not url.startswith("unix"):
        tcp = {"socket_keepalive": True, "socket_keepalive_options": KEEPALIVE}
    try:
        database = urlsplit(url).path.strip("/")
        if not url.startswith("unix") and not (database.isdigit() or not database):
            raise _invalid_url(url)
        client = redis.Redis.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            health_check_interval=25,
            retry=Retry(NoBackoff(), 0),
            **tcp,
        )
    except ValueError:
        raise _invalid_url(url) from None
    _check_options(client, url)
    return client


def _check_options(client: redis.Redis, url: str) -> None:
    """Try the options behind the ``?`` now; redis-py would try them only at the first command."""
    pool = client.connection_pool
    try:
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, redis.RedisError) as exc:
        problem = str(exc).rpartition("() ")[2]
        raise _invalid_url(url, f"an option behind the ? is wrong ({problem})") from None


def _invalid_url(url: str, why: str = "") -> SettingsError:
    safe_url = without_password(url)
    why = why or (
        "must be like redis://[user:password@]host:port/db, rediss://..., unix:///path/of.socket or "
        "embedded:///some/directory; in a password, # / ? @ are written %23 %2F %3F %40"
    )
    return SettingsError(
        f"TEMP_FILE_REDIS_URL={safe_url!r}: {why}", variable="TEMP_FILE_REDIS_URL", value=safe_url
    )


def address_of(client: redis.Redis) -> str:
    """The socket, or host and port, of Redis, or its name for Sentinel; without the password."""
    pool: Any = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        return f"{pool.service_name} (by Sentinel)"
    options = pool.connection_kwargs
    return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


DEFAULT_ADDRESS = "localhost:6379"


ADVICE = {
    "loading the dataset": "It has started and reads its data; it answers by itself when that is done.",
    "max number of clients": "It has as many connections as it accepts: raise its maxclients, or end some of them.",
    "Too many connections": "All connections of this client are in use: raise its max_connections.",
    "No master found": "Are its Sentinels up, and do they know a primary of this name?",
}
"""What to do about a Redis that is there, by a part of its error."""


def _advice(exc: redis.RedisError, address: str) -> str:
    """What to do about a Redis that does not answer. Only who has set no address may want a private Redis."""
    for sign, advice in ADVICE.items():
        if sign in str(exc):
            return advice
    if isinstance(exc, redis.TimeoutError):
        return (
            "It hangs, it is overloaded, or the network loses packets: look at its log and load. "
            "TEMP_FILE_REDIS_TIMEOUT is how long a call waits."
        )
    private = "; embedded:///some/directory starts a private one" if address == DEFAULT_ADDRESS else ""
    return f"Start it or correct TEMP_FILE_REDIS_URL{private}."


def translated(exc: redis.RedisError, address: str) -> RegistryError:
    """Returns our error for Redis's: it says what happened, and what to do."""
    text = str(exc).removeprefix("user_script:").strip()
    denied = isinstance(exc, redis.AuthenticationError | redis.exceptions.NoPermissionError)
    if denied or "ACL failure in script" in text:
        return RegistryDenied(
            f"Redis at {address} refused us ({text}): check the user name, password and rights in TEMP_FILE_REDIS_URL."
        )
    if isinstance(exc, redis.ConnectionError | redis.TimeoutError):
        # redis-py adds its client objects, with all their options, to the error of a Sentinel.
        why = text.partition(" : <")[0]
        return RegistryUnavailable(f"Redis at {address} gave no answer ({why}). {_advice(exc, address)}")
    if is_not_now(exc):
        return RegistryUnavailable(f"Redis at {address} accepts no writes for now ({text}).")
    if isinstance(exc, redis.exceptions.OutOfMemoryError) or "OOM" in text:
        return RegistryFull(
            f"Redis at {address} has reached its maxmemory: nothing was registered; clean-ups continue."
        )
    if "SCHEMA " in text:
        return mismatch(text.partition("SCHEMA ")[2].split()[0])
    if "DISK " in text:
        return AnotherDisk("The registry has files of another disk; nothing was registered.")
    return RegistryError(f"Redis at {address} refused: {text}")


def is_not_now(reply: object) -> bool:
    """
    Whether *reply* is an error of a server that accepts no writes for now. It is perhaps no longer the server that its
    address leads to.
    """
    if not isinstance(reply, redis.ResponseError):
        return False
    return isinstance(reply, NOT_NOW_ERRORS) or NOT_NOW.search(str(reply)) is not None


def disconnect_idle(client: redis.Redis) -> None:
    """Close the connections that no thread uses now, so that the next call connects to the address anew."""
    pool: Any = client.connection_pool
    own: Any = client.connection
    if own is not None:
        own.disconnect()
    try:
        pool.disconnect(inuse_connections=False)
    except TypeError:
        # The BlockingConnectionPool of older versions of redis-py cannot choose.
        pool.disconnect()


class AnotherDisk(RegistryError):
    """Files of another disk cannot enter; nothing was changed."""


def mismatch(schema: str) -> SchemaMismatch:
    """Returns the error for a registry of another *schema*."""
    if schema == UNFINISHED_SCHEMA:
        return SchemaMismatch("An upgrade of the registry is unfinished: run tempfleet upgrade again.")
    if schema.isdigit() and int(schema) > SCHEMA:
        todo = "Run the version that wrote it."
    else:
        todo = "Stop all workers, then run tempfleet upgrade."
    return SchemaMismatch(f"The registry has schema {schema}, this Tempfleet writes {SCHEMA}. {todo}")
