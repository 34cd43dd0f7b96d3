"""What is true after RegistryUnavailable, and what works while Redis is full; the table is in docs/guarantees.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from proxy import Proxy, proxy_to
from support import assert_balanced
from tempfleet import NotRegistered, RegistryFull, RegistryUnavailable, Settings, State, TempFileManager
from tempfleet.embedded import EmbeddedServer
from tempfleet.records import NewFile
from tempfleet.registry.values import Nack


@pytest.fixture
def proxy(real_server: EmbeddedServer, real_client: redis.Redis) -> Iterator[Proxy]:
    with proxy_to(real_server.socket_path) as proxy:
        yield proxy


@pytest.fixture
def manager(proxy: Proxy, tmp_path: Path) -> Iterator[TempFileManager]:
    """Its answers can be lost; every script that it uses is in Redis already."""
    settings = Settings.load(base_dir=str(tmp_path / "base"), redis_url=proxy.url, redis_timeout_seconds=0.3)
    manager = TempFileManager(settings=settings)
    path = touched(manager, "first")
    manager.register(path)
    manager.renew(path)
    manager.hold(path)
    manager.unhold(path)
    manager.unregister(path)
    with manager.create():
        pass
    yield manager
    manager.close()


def touched(manager: TempFileManager, name: str = "file") -> Path:
    path = Path(manager.base_dir) / name
    path.touch()
    return path


def losing_its_answer(proxy: Proxy, call: Callable[[], object]) -> None:
    proxy.losing = b"EVALSHA"
    with pytest.raises(RegistryUnavailable):
        call()
    proxy.losing = b""


def test_a_file_whose_registration_lost_its_answer_is_registered_and_may_be_registered_again(
    manager: TempFileManager, proxy: Proxy
) -> None:
    path = touched(manager)
    losing_its_answer(proxy, lambda: manager.register(path, ttl=60))
    assert manager.is_temp_file(path)
    manager.register(path, ttl=60)
    assert manager.stats().active == 1
    assert_balanced(manager)


def test_a_creation_that_lost_its_answer_leaves_no_file_and_its_record_is_dropped(
    manager: TempFileManager, proxy: Proxy
) -> None:
    before = {entry.name for entry in Path(manager.base_dir).iterdir()}
    losing_its_answer(proxy, lambda: manager.create(ttl=0.001))
    assert {entry.name for entry in Path(manager.base_dir).iterdir()} == before
    assert manager.stats().active == 1


@pytest.mark.parametrize("call", ["renew", "hold", "unhold", "unregister"])
def test_a_change_that_lost_its_answer_has_happened_and_may_be_repeated(
    call: str, manager: TempFileManager, proxy: Proxy
) -> None:
    path = touched(manager)
    manager.register(path, ttl=10)
    if call == "unhold":
        manager.hold(path)
    change = {
        "renew": lambda: manager.renew(path, ttl=1000),
        "hold": lambda: manager.hold(path),
        "unhold": lambda: manager.unhold(path),
        "unregister": lambda: manager.unregister(path),
    }[call]
    losing_its_answer(proxy, change)
    record = manager.get_record(path)
    if call == "unregister":
        assert record is None
        with pytest.raises(NotRegistered):
            change()
    else:
        assert record is not None
        assert record.state is (State.HELD if call == "hold" else State.WAITING)
        assert call != "renew" or record.deadline_ms > manager.registry.now_ms() + 500_000
        with suppress(NotRegistered):
            change()
    assert_balanced(manager)


WHILE_FULL: dict[str, Callable[[TempFileManager, Path], object]] = {
    "renew": lambda manager, path: manager.renew(path, ttl=10_000),
    "hold": lambda manager, path: manager.hold(path),
    "hold with a name, a reason and an end": lambda manager, path: manager.hold(
        path, name="audit", reason="for the auditor", seconds=60
    ),
    "unregister": lambda manager, path: manager.unregister(path),
    "clear_all": lambda manager, path: manager.clear_all(),
    "cleanup": lambda manager, path: manager.cleanup(),
    "leaving a block": lambda manager, path: manager.__exit__(None, None, None),
}


@pytest.mark.parametrize("name", WHILE_FULL)
def test_while_redis_is_full_every_call_works_that_ends_or_lengthens_a_life(
    name: str, tmp_path: Path
) -> None:
    with EmbeddedServer.start(tmp_path / "server") as server:
        manager = TempFileManager(tmp_path / "base", redis_url=server.unix_url)
        path, held = touched(manager), touched(manager, "held")
        manager.register_many([path, held], ttl=600)
        manager.hold(held)
        manager.store.client.config_set("maxmemory", "1")
        with pytest.raises(RegistryFull):
            manager.register(touched(manager, "new"))
        for each in (path, held) if name in ("renew", "hold") else (path,):
            WHILE_FULL[name](manager, each)
        manager.unhold(held)
        manager.store.client.config_set("maxmemory", "0")
        record = manager.get_record(path)
        if name == "renew":
            assert record is not None and record.deadline_ms > manager.registry.now_ms() + 9_000_000
        assert_balanced(manager)
        manager.close()


def test_while_redis_is_full_a_batch_is_claimed_settled_put_back_and_reaped(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path / "server") as server:
        manager = TempFileManager(tmp_path / "base", redis_url=server.unix_url)
        registry = manager.registry
        registry.register([NewFile(f"/base/{i}", 60_000) for i in range(4)])
        manager.store.client.config_set("maxmemory", "1")
        claim = registry.claim_paths([f"/base/{i}" for i in range(4)], lease_ms=60_000, until_ms=2**50)
        registry.extend(claim.token, lease_ms=90_000)
        assert registry.begin(claim.token, "/base/0")
        nacks = [Nack("/base/0", delay_ms=1, reason="EACCES"), Nack("/base/1", bury=True, reason="EPERM")]
        assert registry.nack(claim.token, nacks) == 2
        assert registry.nack(claim.token, [Nack("/base/2", counts=False)]) == 1
        assert registry.revive(["/base/1"]) == {"/base/1": "revived"}
        assert registry.unregister(["/base/2"]) == {"/base/2": "released"}
        registry.reap()
        manager.store.client.config_set("maxmemory", "0")
        assert_balanced(manager)
        manager.close()
