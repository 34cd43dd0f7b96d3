"""The Redis client of one manager."""

from __future__ import annotations

import redis

from ..embedded import connect_url
from ..registry import connect, safe_client
from ..settings import Settings


def client_of(settings: Settings, given: redis.Redis | None) -> redis.Redis:
    """
    Returns a client that repeats no call and waits for no answer without a bound: *given*, one like it, or a new one
    by the settings. The caller closes it, unless it is *given*.

    Raises:
        SettingsError: *given* cannot be used, or the URL is not valid.
    """
    timeout = settings.redis_timeout_seconds
    if given is not None:
        return safe_client(given, timeout_seconds=timeout)
    return connect(connect_url(settings.redis_url), timeout_seconds=timeout)
