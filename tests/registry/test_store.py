"""Calls to real Redis servers that are stopped, locked, full, or have lost their scripts."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis

from support import wait_until
from tempfleet import (
    EvictingRedis,
    NotRegistered,
    RegistryDenied,
    RegistryFull,
    RegistryUnavailable,
    SchemaMismatch,
    SettingsError,
    TempFileManager,
    Volume,
)
from tempfleet.embedded import EmbeddedServer
from tempfleet.errors import RegistryError
from tempfleet.records import Deletion, NewFile, Outcome
from tempfleet.registry.connection import connect
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.registry import Registry
from tempfleet.registry.store import Store
from tempfleet.registry.values import Nack
from tempfleet.settings.urls import without_password

VOLUME = Volume("web-1", "/base")
PASSWORD = "correct-horse-battery"


def registry_at(url: str) -> Registry:
    return Registry(Store(connect(url)), VOLUME)


def files(*names: str, ttl_ms: int = 1) -> list[NewFile]:
    return [NewFile(f"/base/{name}", ttl_ms, identity=f"b{name}.1") for name in names]


# -- away


def test_a_server_that_was_stopped_is_unavailable_and_the_message_says_what_to_do(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path) as server:
        registry = registry_at(server.unix_url)
        registry.register(files("a"))
    for call in (
        registry.stats,
        lambda: registry.claim(limit=1, lease_ms=1),
        lambda: registry.register(files("b")),
    ):
        with pytest.raises(RegistryUnavailable) as error:
            call()
        assert isinstance(error.value.__cause__, redis.RedisError)
        assert server.socket_path in str(error.value)
        assert "TEMP_FILE_REDIS_URL" in str(error.value)
        assert "Start it or correct TEMP_FILE_REDIS_URL." in str(error.value)


def test_a_host_that_is_none_is_unavailable() -> None:
    registry = registry_at("redis://localhost:1/0")
    with pytest.raises(RegistryUnavailable, match="Redis at localhost:1 gave no answer"):
        registry.stats()


def test_a_server_that_came_back_is_used_again_at_the_first_call(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path, appendfsync="always") as server:
        registry = registry_at(server.unix_url)
        registry.register(files("a"))
    with EmbeddedServer.start(tmp_path):
        assert [record.path for record in registry.claim(limit=1, lease_ms=1000).records] == ["/base/a"]


def test_tokens_grow_across_a_restart_and_nothing_is_lost(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path) as server:
        registry = registry_at(server.unix_url)
        registry.register(files("a", "b"))
        first = wait_until(lambda: (claim := registry.claim(limit=1, lease_ms=60_000)).token and claim)
    with EmbeddedServer.start(tmp_path):
        second = registry.claim(limit=1, lease_ms=60_000)
        assert second.token > first.token
        assert {r.path for r in first.records + second.records} == {"/base/a", "/base/b"}
        assert registry.ack(first.token, [Deletion(record, Outcome.DELETED) for record in first.records]) == 1
        assert registry.audit() == []


# -- locked


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server with a password, and a user with all rights that Tempfleet needs, except INFO."""
    server = EmbeddedServer.start(tmp_path / "locked")
    client = connect(server.unix_url)
    client.acl_setuser("limited", enabled=True, passwords=[f"+{PASSWORD}"], keys=["tempfleet:*"],
                       commands=["+@all", "-info"])  # fmt: skip
    client.acl_setuser(
        "blind", enabled=True, passwords=[f"+{PASSWORD}"], keys=["other:*"], commands=["+@all"]
    )
    client.config_set("requirepass", PASSWORD)
    yield server
    server.stop()


def with_login(server: EmbeddedServer, login: str) -> str:
    return f"unix://{login}@{server.socket_path}"


@pytest.mark.parametrize("login", ["", ":wrong-guess@", "limited:wrong-guess@", "nobody:wrong-guess@"])
def test_a_wrong_password_is_denied_and_said_without_it(
    locked: EmbeddedServer, tmp_path: Path, login: str
) -> None:
    manager = TempFileManager(tmp_path / "base", redis_url=f"unix://{login}{locked.socket_path}")
    (tmp_path / "base" / "file").touch()
    with pytest.raises(RegistryDenied) as error:
        manager.register(tmp_path / "base" / "file")
    assert "TEMP_FILE_REDIS_URL" in str(error.value)
    assert "wrong-guess" not in f"{error.value}{error.value.__cause__}{manager!r}{manager.settings}"
    health = manager.health_check()
    assert health["status"] == "unhealthy"
    assert "wrong-guess" not in str(health)
    assert (tmp_path / "base" / "file").exists()
    manager.close()


def test_the_right_password_works_and_is_never_shown(locked: EmbeddedServer, tmp_path: Path) -> None:
    manager = TempFileManager(tmp_path / "base", redis_url=with_login(locked, f":{PASSWORD}"))
    with manager.create():
        assert len(manager.files) == 1
    shown = f"{manager!r}{manager.settings!r}{manager.health_check()}{manager.store.address}{manager.files!r}"
    assert PASSWORD not in shown
    locked.stop()
    with pytest.raises(RegistryUnavailable) as error:
        manager.cleanup()
    assert PASSWORD not in f"{error.value}{error.value.__cause__}"
    manager.close()


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://cache.internal/0", "cache.internal:6379"),
        ("redis:///1", "localhost:6379"),
        ("rediss://cache:6380", "cache:6380"),
        ("unix:///run/redis.sock", "/run/redis.sock"),
    ],
)
def test_what_a_url_leaves_out_is_shown_as_it_is_in_force(url: str, address: str) -> None:
    assert Store(connect(url)).address == address


def test_a_user_who_may_not_ask_for_info_works_all_the_same(
    locked: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = TempFileManager(tmp_path / "base", redis_url=with_login(locked, f"limited:{PASSWORD}"))
    with manager.create():
        assert manager.cleanup() == 0
    assert "Cannot read the maxmemory-policy" in caplog.text
    assert PASSWORD not in caplog.text
    manager.close()


def test_a_user_without_rights_to_our_keys_is_denied(locked: EmbeddedServer, tmp_path: Path) -> None:
    manager = TempFileManager(tmp_path / "base", redis_url=with_login(locked, f"blind:{PASSWORD}"))
    with pytest.raises(RegistryDenied, match="rights"):
        manager.create()
    assert list((tmp_path / "base").iterdir()) == []
    manager.close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://bob@h:1/0", "redis://bob@h:1/0"),
        ("redis://bob:secret@h:1/0", "redis://bob:***@h:1/0"),
        ("rediss://:secret@h/0", "rediss://:***@h/0"),
        ("redis://:se%40cret@[::1]:1/0", "redis://:***@[::1]:1/0"),
        ("unix://:secret@/run/redis.sock?db=1", "unix://:***@/run/redis.sock?db=1"),
        ("redis://h?db=1&password=secret&a=b", "redis://h?db=1&password=***&a=b"),
        ("rediss://h?ssl_password=secret&a=b", "rediss://h?ssl_password=***&a=b"),
        ("redis://h?Password=secret", "redis://h?Password=***"),
        ("redis://h?password=se#cret", "redis://h?password=***"),
        ("redis://bob:secret", "***"),
        ("redis//:secret@h", "***"),
        ("redis://:se#cret@h:1/0", "***"),
        ("redis://:se/cret@h:1/0", "***"),
        ("redis://bob:se@c#ret@h:1/0", "***"),
        ("redis://bob:se?cret@h:1/0", "***"),
        ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
        ("redis://[:secret@h", "***"),
        ("embedded:///srv/redis", "embedded:///srv/redis"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://h:1/0?foo=bar", "foo"),
        ("unix:///tmp/x.sock?foo=1", "foo"),
        ("redis://h:1/0?protocol=9", "protocol"),
        ("rediss://h:1/0?ssl_cert_reqs=zzz", "zzz"),
        ("redis://[::1/0", "must be like"),
        ("redis://:se#cret@h:1/0", "%23"),
        ("redis://h:port/0", "must be like"),
    ],
)
def test_a_url_that_cannot_be_is_a_setting_that_is_wrong_before_anything_is_asked(
    url: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        connect(url)
    assert "cret" not in str(error.value)
    assert error.value.variable == "TEMP_FILE_REDIS_URL"


# -- evicting


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_redis_that_may_evict_our_keys_is_refused(real_client: redis.Redis, policy: str) -> None:
    real_client.config_set("maxmemory-policy", policy)
    try:
        with pytest.raises(EvictingRedis, match="Set maxmemory-policy noeviction") as error:
            Store(real_client).check_policy()
        assert isinstance(error.value, SettingsError)
        assert error.value.value == policy
    finally:
        real_client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru", "volatile-ttl"])
def test_a_redis_that_evicts_only_keys_that_expire_will_do(real_client: redis.Redis, policy: str) -> None:
    real_client.config_set("maxmemory-policy", policy)
    try:
        Store(real_client).check_policy()
    finally:
        real_client.config_set("maxmemory-policy", "noeviction")


# -- full


def test_when_redis_is_full_registering_is_refused_and_cleaning_goes_on(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path, maxmemory="8mb", maxmemory_policy="noeviction") as server:
        client = connect(server.unix_url)
        registry, fleet = registry_at(server.unix_url), Fleet(Store(client))
        fleet.heartbeat("web-1")
        registry.register(files(*(str(n) for n in range(100))))
        registry.register(files("held", ttl_ms=1))
        registry.hold("/base/held", hold_ms=1)
        abandoned = wait_until(lambda: (claim := registry.claim(limit=5, lease_ms=1)).token and claim)
        filler = 0
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            while True:
                client.set(f"filler:{filler}", b"x" * 10_000)
                filler += 1
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            while True:
                client.set(f"filler:{filler}", b"x" * 10)
                filler += 1

        before = registry.stats()
        with pytest.raises(RegistryFull, match="nothing was registered; clean-ups continue"):
            registry.register(files("one-more"))
        after = registry.stats()
        assert (after.total("registered"), after.active) == (before.total("registered"), before.active)

        assert fleet.heartbeat("web-1") > 0
        wait_until(lambda: registry.reap().recovered + registry.stats().waiting >= 101)
        assert registry.stats().leased == 0
        assert registry.ack(abandoned.token, [Deletion(abandoned.records[0], Outcome.DELETED)]) == 0
        claim = registry.claim(limit=50, lease_ms=60_000)
        assert len(claim.records) == 50
        registry.extend(claim.token, lease_ms=60_000)
        gone, kept = claim.records[:40], claim.records[40:]
        assert registry.ack(claim.token, [Deletion(record, Outcome.DELETED) for record in gone]) == 40
        assert registry.nack(claim.token, [Nack(r.path, delay_ms=1, reason="EACCES") for r in kept]) == 10
        assert registry.unregister(["/base/held"]) == {"/base/held": "released"}
        assert registry.audit() == []
        stats = registry.stats()
        assert (stats.imbalance, stats.total("deleted"), stats.leased) == (0, 40, 0)

        client.delete(*(f"filler:{n}" for n in range(filler)))
        assert registry.register(files("one-more"))[0].code == "new"


def test_when_redis_is_full_a_clean_up_still_cleans(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path / "server", maxmemory="8mb") as server:
        manager = TempFileManager(tmp_path / "base", redis_url=server.unix_url)
        paths = []
        for _ in range(50):
            with manager.create().file as file:
                paths.append(file.name)
        manager.store.client.config_set("maxmemory", "1")
        with pytest.raises(RegistryFull):
            manager.create()
        assert len(os.listdir(manager.base_dir)) == 50
        assert manager.clear_all() == 50
        assert [path for path in paths if os.path.exists(path)] == []
        assert manager.stats().imbalance == 0
        manager.close()


# -- forgetful


def test_a_redis_that_lost_its_scripts_gets_them_again(real_client: redis.Redis) -> None:
    registry, fleet = Registry(Store(real_client), VOLUME), Fleet(Store(real_client))
    for _ in range(2):
        real_client.script_flush()
        registry.register(files("a"))
        real_client.script_flush()
        assert registry.stats().active == 1
        real_client.script_flush()
        assert fleet.stats([VOLUME])[VOLUME].active == 1
        real_client.script_flush()
        assert fleet.heartbeat("web-1") > 0


def test_a_registry_of_another_version_is_left_alone(redis_client: redis.Redis) -> None:
    registry = Registry(Store(redis_client), VOLUME)
    registry.register(files("a"))
    redis_client.hset(f"tempfleet:{{{VOLUME}}}:meta", "schema", 99)
    with pytest.raises(SchemaMismatch, match="schema 99, this Tempfleet writes 2"):
        registry.register(files("b"))
    assert len(registry) == 1


def test_an_error_of_redis_is_one_of_ours(redis_client: redis.Redis) -> None:
    redis_client.set(f"tempfleet:{{{VOLUME}}}:registry", "somebody wrote here")
    with pytest.raises(RegistryError, match="WRONGTYPE"):
        Registry(Store(redis_client), VOLUME).stats()
    redis_client.delete(f"tempfleet:{{{VOLUME}}}:registry")


def test_a_dead_connection_is_replaced_and_a_claim_is_never_sent_twice(real_client: redis.Redis) -> None:
    registry = Registry(Store(real_client), VOLUME)
    registry.register(files("a", "b"))
    others = connect(f"unix://{real_client.connection_pool.connection_kwargs['path']}")

    def cut() -> None:
        for client in others.client_list():
            if client["id"] != str(others.client_id()):
                others.client_kill_filter(_id=client["id"])

    for call in (registry.stats, lambda: registry.register(files("c")), lambda: len(registry)):
        cut()
        assert call()
    with pytest.raises(NotRegistered):
        registry.renew("/base/none", ttl_ms=1)
    claimed = 0
    for _ in range(3):
        cut()
        try:
            claimed += len(registry.claim(limit=1, lease_ms=60_000).records)
        except RegistryUnavailable:
            pass
    stats = registry.stats()
    assert stats.leased == stats.total("claimed") == claimed
    others.close()


@contextmanager
def losing_replies(path: str, at: Path) -> Iterator[str]:
    """A server in front of the one at *path*. After a reply to a script it closes the connection instead."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(path)
                while request := self.request.recv(1 << 20):
                    server.sendall(request)
                    reply = server.recv(1 << 20)
                    if b"EVAL" in request and not reply.startswith(b"-"):
                        return
                    self.request.sendall(reply)

    with socketserver.ThreadingUnixStreamServer(str(at), Handler) as front:
        thread = threading.Thread(target=front.serve_forever, args=[0.01])
        front.daemon_threads = True
        thread.start()
        try:
            yield f"unix://{at}"
        finally:
            front.shutdown()
            thread.join()


def test_a_lost_reply_makes_nothing_count_twice(real_client: redis.Redis) -> None:
    path = real_client.connection_pool.connection_kwargs["path"]
    direct = Registry(Store(real_client), VOLUME)
    direct.register(files("a", "b"))
    direct.observe({"cleanups": 1})
    direct.record_plugin("p", failures=1, reason="", hold_ms=1)
    wait_until(lambda: direct.stats().due == 2)
    with TemporaryDirectory() as folder, losing_replies(path, Path(folder, "s")) as url:
        registry = registry_at(url)
        calls: list[Callable[[], object]] = [
            lambda: registry.claim(limit=1, lease_ms=60_000),
            lambda: registry.observe({"cleanups": 1}),
            lambda: registry.record_plugin("p", failures=1, reason="", hold_ms=1),
        ]
        for call in calls:
            with pytest.raises(RegistryUnavailable):
                call()
        registry.store.client.close()
    stats = direct.stats()
    assert (stats.leased, stats.total("cleanups"), stats.total("plugin_failed:p")) == (1, 2, 2)


# -- not now


def not_now(client: redis.Redis, state: str) -> None:
    """Put a server into a state that refuses writes for a while."""
    if state == "READONLY":  # failed over: it follows another one now
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    else:
        client.config_set("min-replicas-to-write", "1")


@pytest.mark.parametrize("state", ["READONLY", "NOREPLICAS"])
def test_a_server_that_takes_no_writes_for_now_is_unavailable_not_a_refusal(
    tmp_path: Path, state: str
) -> None:
    with EmbeddedServer.start(tmp_path / "server") as server:
        registry = registry_at(server.unix_url)
        registry.register(files("before"))
        not_now(registry.store.client, state)
        with pytest.raises(RegistryUnavailable, match="accepts no writes for now"):
            registry.register(files("after"))


def test_a_call_that_has_waited_is_not_repeated(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, calls in ((0.5, 2), (1.5, 1)):
        times: list[float] = []
        now = [0.0]
        monkeypatch.setattr("time.monotonic", lambda now=now: now[0])

        def dies(times: list[float] = times, now: list[float] = now, seconds: float = seconds) -> None:
            times.append(now[0])
            now[0] += seconds
            raise redis.ConnectionError("Connection closed by server.")

        with pytest.raises(RegistryUnavailable):
            store.call(dies)
        assert len(times) == calls
