"""A Redis that fails over: its address leads to another server, but the connections stay with the demoted one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from proxy import Proxy, dialler, proxy_to
from tempfleet import RegistryDenied, RegistryUnavailable, Volume
from tempfleet.embedded import EmbeddedServer
from tempfleet.records import NewFile
from tempfleet.registry.connection import connect, translated
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.registry import Registry
from tempfleet.registry.store import Store
from tempfleet.testing import FakeClock

VOLUME = Volume("web-1", "/base")


@dataclass
class Pair:
    """Two servers behind one address."""

    primary: EmbeddedServer
    other: EmbeddedServer
    proxy: Proxy

    def fail_over(self) -> None:
        """Demote the primary, and let new connections reach the other one. The open ones stay where they are."""
        self.proxy.dial = dialler(self.other.socket_path)
        with connect(self.primary.unix_url) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with (
        EmbeddedServer.start(tmp_path / "a") as primary,
        EmbeddedServer.start(tmp_path / "b") as other,
        proxy_to(primary.socket_path) as proxy,
    ):
        yield Pair(primary, other, proxy)


def file(path: str) -> NewFile:
    return NewFile(path, ttl_ms=60_000)


def claim(registry: Registry) -> object:
    return registry.claim(limit=1, lease_ms=60_000)


WRITES: dict[str, Callable[[Registry], object]] = {
    "a script": lambda registry: registry.observe({"cleanups": 1}),
    "a claim": claim,
    "a script in a pipeline": lambda registry: registry.register([file("/base/b")]),
    "a command": lambda registry: Fleet(registry.store).announce(VOLUME),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_no_call_stays_with_a_demoted_primary(pair: Pair, write: Callable[[Registry], object]) -> None:
    with connect(pair.proxy.url) as client:
        registry = Registry(Store(client), VOLUME)
        registry.register([file("/base/a")])
        pair.fail_over()
        write(registry)
        registry.register([file("/base/c")])
    with connect(pair.other.unix_url) as client:
        assert Registry(Store(client), VOLUME).stats().active >= 1


def test_several_scripts_in_one_round_trip_fail_once(pair: Pair, clock: FakeClock) -> None:
    with connect(pair.proxy.url) as client:
        fleet = Fleet(Store(client, clock=clock))
        registry = fleet.registry(VOLUME)
        registry.register([NewFile("/base/a", ttl_ms=1)])
        # The server has the script from now on.
        fleet.reap([VOLUME])
        clock.advance(1)
        registry.claim(limit=1, lease_ms=1)
        clock.advance(1)
        pair.fail_over()
        assert isinstance(fleet.reap([VOLUME])[VOLUME], RegistryUnavailable)
        assert not isinstance(fleet.reap([VOLUME])[VOLUME], Exception)


def test_a_client_of_the_user_does_not_stay_with_a_demoted_primary(pair: Pair) -> None:
    pools = [redis.ConnectionPool, redis.BlockingConnectionPool]
    clients = [redis.Redis(connection_pool=pool.from_url(pair.proxy.url)) for pool in pools]
    clients.append(redis.Redis.from_url(pair.proxy.url, single_connection_client=True))
    registries = [Registry(Store(client), VOLUME) for client in clients]
    for registry in registries:
        registry.register([file("/base/a")])
    pair.fail_over()
    for registry in registries:
        registry.register([file("/base/a")])
    for client in clients:
        client.close()


def test_a_primary_that_is_demoted_with_nobody_promoted_is_unavailable(pair: Pair) -> None:
    with connect(pair.primary.unix_url) as client:
        registry = Registry(Store(client), VOLUME)
        registry.register([file("/base/a")])
        pair.fail_over()
        for _ in range(3):
            with pytest.raises(RegistryUnavailable, match="accepts no writes for now"):
                registry.register([file("/base/b")])
        client.replicaof("NO", "ONE")
        registry.register([file("/base/b")])


def test_a_connection_that_dies_in_a_pipeline_loses_none_of_its_commands(pair: Pair) -> None:
    class Dying(redis.connection.Connection):
        dying = False

        def read_response(self, *args: object, **options: object) -> object:
            if Dying.dying:
                Dying.dying = False
                raise redis.ConnectionError("reset by peer")
            return super().read_response(*args, **options)

    port = pair.proxy.port
    with redis.Redis(connection_pool=redis.ConnectionPool(Dying, port=port, retry=None)) as client:
        Fleet(Store(client)).heartbeat("web-1")
        Dying.dying = True
        assert [host.name for host in Fleet(Store(client)).hosts()] == ["web-1"]


def test_only_one_call_waits_for_connections_that_a_firewall_forgot(pair: Pair) -> None:
    with connect(pair.proxy.url, timeout_seconds=0.3) as client:
        registry, pool = Registry(Store(client), VOLUME), client.connection_pool
        registry.register([file("/base/a")])
        for connection in [pool.get_connection() for _ in range(4)]:
            pool.release(connection)
        pair.proxy.forget()
        with pytest.raises(RegistryUnavailable):
            registry.register([file("/base/b")])
        # Another thread has the connection that failed, which is new now.
        other_thread_s = pool.get_connection()
        registry.register([file("/base/b")])
        pool.release(other_thread_s)


def test_a_script_without_its_rights_is_denied_and_may_be_retried(pair: Pair) -> None:
    with connect(pair.primary.unix_url) as client:
        registry = Registry(Store(client), VOLUME)
        client.execute_command("ACL", "SETUSER", "default", "-zadd")
        with pytest.raises(RegistryDenied, match="check the user name, password and rights"):
            registry.register([file("/base/a")])


ANSWERS = {
    "READONLY You can't write against a read only replica.": True,
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": True,
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)": True,
    "NOREPLICAS Not enough good replicas to write.": True,
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.": True,
    "CLUSTERDOWN The cluster is down": True,
    "ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write against a read only "
    "replica.": True,
    "ERR unknown command 'nonsense'": False,
    "WRONGTYPE Operation against a key holding the wrong kind of value": False,
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_every_answer_of_a_server_without_writes_is_recognised(answer: str) -> None:
    parser: Any = redis.connection.DefaultParser
    error = translated(parser.parse_error(answer), "localhost:6379")
    assert isinstance(error, RegistryUnavailable) is ANSWERS[answer]
