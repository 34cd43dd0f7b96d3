"""A Redis that hangs: a call in the middle of a program ends in bounded time, and the error says what helps."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis

from proxy import proxy_to
from support import wait_until
from tempfleet import RegistryUnavailable, Settings, TempFileManager
from tempfleet.embedded import EmbeddedServer
from tempfleet.registry.connection import translated

SECONDS = 0.3
SLACK = 2.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start(tmp_path / "server") as server:
        yield server


@contextmanager
def stopped(server: EmbeddedServer) -> Iterator[None]:
    """The kernel still accepts connections for the server, and nobody answers."""
    with redis.Redis(unix_socket_path=server.socket_path) as client:
        pid = int(client.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture(params=["a stopped server", "a proxy that swallows"])
def hanging(
    request: pytest.FixtureRequest, server: EmbeddedServer, tmp_path: Path
) -> Iterator[TempFileManager]:
    """A manager that has worked, and whose Redis hangs now."""
    with proxy_to(server.socket_path) as proxy:
        is_proxied = request.param == "a proxy that swallows"
        settings = Settings.load(
            base_dir=str(tmp_path / "base"),
            redis_url=proxy.url if is_proxied else server.unix_url,
            redis_timeout_seconds=SECONDS,
        )
        with TempFileManager(settings=settings) as manager:
            manager.create(ttl=600).close()
        if is_proxied:
            proxy.swallowing = True
            yield manager
        else:
            with stopped(server):
                yield manager
        manager.close()


CALLS: dict[str, Callable[[TempFileManager, Path], object]] = {
    "create": lambda manager, path: manager.create(),
    "register": lambda manager, path: manager.register(path),
    "renew": lambda manager, path: manager.renew(path),
    "hold": lambda manager, path: manager.hold(path),
    "unregister": lambda manager, path: manager.unregister(path),
    "cleanup": lambda manager, path: manager.cleanup(),
    "stats": lambda manager, path: manager.stats(),
    "explain": lambda manager, path: manager.explain(path),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_call_waits_longer_than_the_time_limit(name: str, hanging: TempFileManager) -> None:
    manager = hanging
    path = Path(manager.base_dir) / "file"
    path.touch()
    for _ in range(2):  # on the open connection, and on a new one
        began = time.monotonic()
        with pytest.raises(RegistryUnavailable, match="TEMP_FILE_REDIS_TIMEOUT"):
            CALLS[name](manager, path)
        assert time.monotonic() - began < SECONDS + SLACK


def test_register_file_and_health_do_not_raise_without_redis(
    hanging: TempFileManager, caplog: pytest.LogCaptureFixture
) -> None:
    manager = hanging
    path = Path(manager.base_dir) / "file"
    path.touch()
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        manager.register_file(path)
    assert f"{path} may not be registered: Redis at" in caplog.text
    assert manager.health_check()["status"] == "unhealthy"
    assert time.monotonic() - began < 2 * (SECONDS + SLACK)


def test_the_time_limit_is_five_seconds_unless_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limits() -> tuple[object, object]:
        manager = TempFileManager(tmp_path / "base", redis_url="redis://localhost:1/0")
        options = manager.store.client.connection_pool.connection_kwargs
        manager.close()
        return options["socket_timeout"], options["socket_connect_timeout"]

    assert limits() == (5, 5)
    monkeypatch.setenv("TEMP_FILE_REDIS_TIMEOUT", "2s")
    assert limits() == (2, 2)


def test_only_who_set_no_address_is_told_of_a_private_redis() -> None:
    refused = redis.ConnectionError("Error 111 connecting to localhost:6379. Connection refused.")
    assert "embedded://" in str(translated(refused, "localhost:6379"))
    assert "embedded://" not in str(translated(refused, "redis.internal:6379"))
    late = redis.TimeoutError("Timeout reading from socket")
    for address in ("localhost:6379", "redis.internal:6379"):
        assert "embedded://" not in str(translated(late, address))
        assert "TEMP_FILE_REDIS_TIMEOUT" in str(translated(late, address))


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"), "reads its data"),
        (redis.ConnectionError("max number of clients reached"), "maxclients"),
        (redis.exceptions.MaxConnectionsError("Too many connections"), "max_connections"),
    ],
)
def test_nobody_is_told_to_start_a_redis_that_runs(error: redis.RedisError, advice: str) -> None:
    text = str(translated(error, "localhost:6379"))
    assert advice in text
    assert "Start it" not in text
