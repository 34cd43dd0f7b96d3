"""
A client that the user gave, made safe for us: no call is repeated behind our back, no answer is waited for without a
bound, and answers are bytes.

redis-py repeats a call whose answer is late, by default up to eight times. A claim that happened and is repeated leaves
its files leased to nobody until the lease ends. So we use a client of the same class with connections of its own; the
user's client keeps its retries, its connections and everything else.
"""

from __future__ import annotations

import copy
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from ..errors import SettingsError

OF_THE_POOL = (
    "connection_pool",
    "event_dispatcher",
    "himport_registry",
    "maint_notifications_pool_handler",
    "orig_host_address",
    "orig_socket_connect_timeout",
    "orig_socket_timeout",
    "oss_cluster_maint_notifications_handler",
)
"""Options that a pool adds to those of its connections; the new pool adds its own."""

REPLIES = {"decode_responses": False, "encoding": "utf-8", "encoding_errors": "strict"}
"""Our scripts send and get bytes: a path need not be text."""

REMEDY = (
    "give it a client made with redis.Redis(..., retry=Retry(NoBackoff(), 0), socket_timeout=5), "
    "or no client but redis_url=..."
)


def safe_client(client: redis.Redis, *, timeout_seconds: float) -> redis.Redis:
    """
    Returns *client* itself if it repeats no call and waits for no answer without a bound; otherwise a client like it
    that does. The caller closes that one.

    Raises:
        SettingsError: such a client cannot be made; the error names the remedy.
    """
    if not isinstance(client, redis.Redis):
        # RedisCluster and the clients of redis.asyncio are no sub-classes of it.
        raise _refused(
            f"{type(client).__module__}.{type(client).__qualname__} is not a redis.Redis of one server"
        )
    return client if _is_safe(client) else _like(client, timeout_seconds)


def _like(client: redis.Redis, timeout_seconds: float) -> redis.Redis:
    """A client of the same class, with safe connections of its own."""
    pool = client.connection_pool
    options = {name: value for name, value in pool.connection_kwargs.items() if name not in OF_THE_POOL}
    options |= {"retry": Retry(NoBackoff(), 0), "retry_on_error": [], **REPLIES}
    for name in ("retry_on_timeout", "protocol"):
        options.pop(name, None)
    for name in ("socket_timeout", "socket_connect_timeout"):
        if not options.get(name):
            options[name] = timeout_seconds
    try:
        new_pool = _pool_like(pool, options, timeout_seconds)
        new_pool.connection_class(**new_pool.connection_kwargs)
    except TypeError as exc:
        raise _refused(f"its {type(pool).__qualname__} cannot be copied ({exc})") from exc
    # The class of the client and what was set on it, for example by a tracer, stay.
    ours = copy.copy(client)
    ours.connection_pool = new_pool
    ours.connection = None
    ours.auto_close_connection_pool = True
    return ours


def _is_safe(client: redis.Redis) -> bool:
    if client.connection is not None:  # single_connection_client: threads would wait for each other
        return False
    if isinstance(client.connection_pool, SentinelConnectionPool):  # its Sentinels have connections, too
        return False
    options = client.connection_pool.connection_kwargs
    connection = client.connection_pool.connection_class(**options)
    has_our_replies = options.get("protocol") in (None, 2, "2") and all(
        options.get(name, value) == value for name, value in REPLIES.items()
    )
    return has_our_replies and bool(options.get("socket_timeout")) and connection.retry._retries == 0


def _pool_like(pool: Any, options: dict[str, Any], timeout_seconds: float) -> Any:
    """A new pool of the class of *pool*."""
    more: dict[str, Any] = {
        "connection_class": pool.connection_class,
        "max_connections": pool.max_connections,
    }
    if isinstance(pool, SentinelConnectionPool):
        more |= {"is_master": pool.is_master, "check_connection": pool.check_connection}
        sentinel = _sentinel_like(pool.sentinel_manager, timeout_seconds)
        return type(pool)(pool.service_name, sentinel, **more, **options)
    if isinstance(pool, redis.BlockingConnectionPool):
        more |= {"timeout": pool.timeout, "queue_class": pool.queue_class}
    return type(pool)(**more, **options)


def _sentinel_like(sentinel: Any, timeout_seconds: float) -> Any:
    """
    A copy of *sentinel* with safe connections. They are asked one after the other, so they share the time limit.
    """
    ours = copy.copy(sentinel)
    limit = timeout_seconds / max(len(sentinel.sentinels), 1)
    ours.sentinels = [_like(client, limit) for client in sentinel.sentinels]
    for client in ours.sentinels:
        options = client.connection_pool.connection_kwargs
        for name in ("socket_timeout", "socket_connect_timeout"):
            options[name] = min(options[name], limit)
    return ours


def _refused(why: str) -> SettingsError:
    return SettingsError(f"client: {why}; {REMEDY}.", variable="client", value=why)
