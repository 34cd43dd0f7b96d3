"""A Redis client that the user gives: no claim is carried out twice, and the client itself does not change."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import fakeredis
import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from proxy import Proxy, proxy_to
from tempfleet import RegistryUnavailable, Settings, SettingsError, TempFileManager
from tempfleet.embedded import EmbeddedServer
from tempfleet.registry.given_client import safe_client


class Traced(redis.Redis):
    """A sub-class with its own behaviour, as a tracer has it."""

    commands: ClassVar[list[str]] = []

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.commands.append(str(args[0]))
        return super().execute_command(*args, **options)


@pytest.fixture
def proxy(real_server: EmbeddedServer, real_client: redis.Redis) -> Iterator[Proxy]:
    with proxy_to(real_server.socket_path) as proxy:
        yield proxy


SLOW = {"socket_timeout": 0.2}

CLIENTS: dict[str, Callable[[int], redis.Redis]] = {
    "default": lambda port: redis.Redis(port=port, **SLOW),
    "from_url": lambda port: redis.Redis.from_url(f"redis://127.0.0.1:{port}", retry=Retry(NoBackoff(), 3), **SLOW),
    "retry_on_error": lambda port: redis.Redis(
        port=port, retry=None, retry_on_error=[redis.TimeoutError, redis.ConnectionError], **SLOW
    ),
    "a pool with its own retry": lambda port: redis.Redis(
        connection_pool=redis.BlockingConnectionPool(
            max_connections=3, timeout=7, port=port, retry=Retry(NoBackoff(), 5), **SLOW
        )
    ),
    "decode_responses": lambda port: redis.Redis(port=port, decode_responses=True, **SLOW),
    "single_connection_client": lambda port: redis.Redis(port=port, single_connection_client=True, **SLOW),
    "resp3": lambda port: redis.Redis(port=port, protocol=3, **SLOW),
    "a sub-class": lambda port: Traced(port=port, **SLOW),
}  # fmt: skip


def retries(client: redis.Redis) -> int:
    pool = client.connection_pool
    return int(pool.connection_class(**pool.connection_kwargs).retry._retries)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_claim_whose_answer_is_late_is_not_carried_out_again(
    name: str, proxy: Proxy, real_client: redis.Redis, tmp_path: Path
) -> None:
    client = CLIENTS[name](proxy.port)
    before = (retries(client), dict(client.connection_pool.connection_kwargs), client.connection)
    manager = TempFileManager(tmp_path / "base", client=client)
    for _ in range(3):
        manager.create(ttl=600).close()
    registry = manager.registry
    registry.claim(limit=1, lease_ms=60_000)
    paths = [record.path for record in manager.records()]

    def claim() -> object:
        return registry.claim_paths(paths[:1], lease_ms=60_000, until_ms=registry.now_ms())

    claimed = claim()
    tokens = real_client.zcard(registry.keys["claims"])
    assert (len(claimed.records), tokens) == (1, 1)  # type: ignore[attr-defined]
    del paths[0]
    sent = real_client.info("commandstats")
    proxy.losing = b"EVALSHA"
    with pytest.raises(RegistryUnavailable):
        registry.claim_paths(paths, lease_ms=60_000, until_ms=2**50)
    proxy.losing = b""
    after = real_client.info("commandstats")
    assert after["cmdstat_evalsha"]["calls"] - sent["cmdstat_evalsha"]["calls"] == 1
    assert real_client.zcard(registry.keys["claims"]) == 2
    manager.close()
    assert (retries(client), dict(client.connection_pool.connection_kwargs), client.connection) == before
    assert client.ping()
    client.close()


def test_a_client_that_is_safe_already_is_used_as_it_is(real_server: EmbeddedServer, tmp_path: Path) -> None:
    client = redis.Redis.from_url(real_server.unix_url, retry=Retry(NoBackoff(), 0), socket_timeout=3)
    with TempFileManager(tmp_path / "base", client=client) as manager:
        assert manager.store.client is client
    manager.close()
    assert client.ping()
    client.close()


def test_a_sub_class_stays_what_it_is(proxy: Proxy) -> None:
    client = Traced(port=proxy.port)
    ours = safe_client(client, timeout_seconds=1)
    Traced.commands.clear()
    assert (type(ours), ours.ping(), Traced.commands) == (Traced, True, ["PING"])
    ours.close()
    client.close()


def test_a_pool_keeps_its_kind_and_its_limits(proxy: Proxy) -> None:
    client = CLIENTS["a pool with its own retry"](proxy.port)
    pool = safe_client(client, timeout_seconds=1).connection_pool
    assert isinstance(pool, redis.BlockingConnectionPool)
    assert (pool.max_connections, pool.timeout, pool.connection_kwargs["socket_timeout"]) == (3, 7, 0.2)


def test_a_sentinel_keeps_its_service_and_loses_its_retries() -> None:
    sentinel = Sentinel([("127.0.0.1", 1)])
    client = sentinel.master_for("main", retry=Retry(NoBackoff(), 9))
    ours = safe_client(client, timeout_seconds=2)
    pool = ours.connection_pool
    assert (pool.service_name, pool.is_master) == ("main", True)
    assert repr(pool.sentinel_manager) == repr(sentinel)
    assert (
        pool.connection_kwargs["connection_pool"]
        is not client.connection_pool.connection_kwargs["connection_pool"]
    ), "the address of the master belongs to a pool"
    assert (retries(ours), retries(client)) == (0, 9)


def test_sentinels_that_hang_are_waited_for_no_longer_than_the_time_limit(tmp_path: Path) -> None:
    """The kernel accepts connections for them, and nobody answers. The error shows no client with its options."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sentinel = Sentinel([silent.getsockname()] * 2, sentinel_kwargs={"password": "secret"})
        client = sentinel.master_for("main", retry=Retry(NoBackoff(), 0), socket_timeout=1)
        settings = Settings.load(base_dir=str(tmp_path / "base"), redis_timeout_seconds=0.4)
        manager = TempFileManager(settings=settings, client=client)
        began = time.monotonic()
        with pytest.raises(
            RegistryUnavailable, match=r"main \(by Sentinel\).*Are its Sentinels up"
        ) as raised:
            manager.create()
        assert time.monotonic() - began < 2
        assert "redis.client" not in str(raised.value)
        assert retries(sentinel.sentinels[0]) == retries(redis.Redis()), "those of the user"
        manager.close()


def test_without_a_time_limit_of_its_own_a_client_gets_that_of_the_settings(
    proxy: Proxy, tmp_path: Path
) -> None:
    client = redis.Redis(port=proxy.port, socket_timeout=None, retry=None)
    manager = TempFileManager(tmp_path / "base", client=client)
    assert manager.store.client.connection_pool.connection_kwargs["socket_timeout"] == 5
    manager.close()


@pytest.mark.parametrize("decoded", [False, True])
def test_a_fake_redis_has_the_same_data(decoded: bool, tmp_path: Path) -> None:
    client = fakeredis.FakeRedis(decode_responses=decoded)
    manager = TempFileManager(tmp_path / "base", client=client)
    manager.create().close()
    assert manager.stats().active == 1
    assert client.exists("tempfleet:volumes")
    manager.close()


class Odd(redis.ConnectionPool):
    """A pool whose constructor is unlike those of redis-py."""

    def __init__(self, secret: str, port: int) -> None:
        super().__init__(port=port, retry=Retry(NoBackoff(), 5))


def test_a_client_that_cannot_be_made_safe_is_refused_with_the_remedy(tmp_path: Path) -> None:
    others: list[Any] = [redis.asyncio.Redis(), redis.Redis(connection_pool=Odd("x", 1)), object()]
    for client in others:
        with pytest.raises(SettingsError, match=r"retry=Retry\(NoBackoff\(\), 0\)"):
            TempFileManager(tmp_path / "base", client=client)
    asyncio.run(others[0].aclose())
