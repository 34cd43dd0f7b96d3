"""Connect to Redis, and translate its errors into ours."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..errors import (
    RegistryDenied,
    RegistryError,
    RegistryFull,
    RegistryUnavailable,
    SchemaMismatch,
    SettingsError,
)
from ..settings import without_password
from .keys import SCHEMA

NOT_NOW = re.compile(
    r"\b(READONLY|NOREPLICAS|MISCONF|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY)\b|read only replica"
)
"""What a server says that takes no writes for a while: failing over, without replicas, unable to save."""


def connect(url: str) -> redis.Redis:
    """
    A client for *url* that gives up in bounded time; it connects at its first command.

    The timeouts are for a dead peer (CELERY.md's figure for the broker's sockets), far above any script's
    time. Connections are made anew after a fork.

    Raises:
        SettingsError: *url* is not one.
    """
    tcp = {} if url.startswith("unix") else {"socket_keepalive": True}
    try:
        database = urlsplit(url).path.strip("/")
        if not url.startswith("unix") and not (database.isdigit() or not database):
            raise _not_a_url(url)
        client = redis.Redis.from_url(
            url,
            socket_timeout=30,
            socket_connect_timeout=5,
            health_check_interval=25,
            retry=Retry(NoBackoff(), 0),
            **tcp,
        )
    except ValueError:
        raise _not_a_url(url) from None
    _check_options(client, url)
    return client


def _check_options(client: redis.Redis, url: str) -> None:
    """What stands behind the ``?`` is the connection's, which is else made at the first command."""
    pool = client.connection_pool
    try:
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, ValueError, redis.RedisError) as exc:
        said = str(exc).rpartition("() ")[2]
        raise _not_a_url(url, f"an option behind the ? is wrong ({said})") from None


def _not_a_url(url: str, why: str = "") -> SettingsError:
    shown = without_password(url)
    why = why or (
        "must be like redis://[user:password@]host:port/db, rediss://..., unix:///path/of.socket or "
        "embedded:///some/directory; in a password, # / ? @ are written %23 %2F %3F %40"
    )
    return SettingsError(f"TEMP_FILE_REDIS_URL={shown!r}: {why}", variable="TEMP_FILE_REDIS_URL", value=shown)


def translated(exc: redis.RedisError, address: str) -> RegistryError:
    """Redis's error in our words: what is true now, and what to do."""
    said = str(exc).removeprefix("user_script:").strip()
    if isinstance(exc, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return RegistryDenied(
            f"Redis at {address} refused us ({said}): check the user name, password and rights in TEMP_FILE_REDIS_URL."
        )
    if isinstance(exc, redis.ConnectionError | redis.TimeoutError):
        return RegistryUnavailable(
            f"Redis at {address} gave no answer ({said}). Start it or correct TEMP_FILE_REDIS_URL; "
            "embedded:///some/directory starts a private one."
        )
    if NOT_NOW.search(said):
        return RegistryUnavailable(f"Redis at {address} takes no writes for now ({said}).")
    if isinstance(exc, redis.exceptions.OutOfMemoryError) or "OOM" in said:
        return RegistryFull(
            f"Redis at {address} has reached its maxmemory: nothing was registered, cleaning goes on."
        )
    if "SCHEMA " in said:
        found = said.partition("SCHEMA ")[2].split()[0]
        return SchemaMismatch(f"The registry has schema {found}, this Tempfleet writes {SCHEMA}.")
    return RegistryError(f"Redis at {address} refused: {said}")
