"""The upgrade of a registry of schema 1: on a real server, with the keys that schema 1 wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from support import snapshot
from tempfleet import HostLive, SchemaMismatch, State, Volume
from tempfleet.cli import main
from tempfleet.embedded import EmbeddedServer
from tempfleet.records import Keeper, NewFile
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.keys import volume_key
from tempfleet.registry.registry import Registry
from tempfleet.registry.store import Store
from tempfleet.registry.upgrade import Upgrade, upgrade
from tempfleet.testing import FakeClock

WAITING, HELD, FOR_EVER, DEAD = "/base/waiting", "/base/held \udcff", "/base/for ever\n", "/base/dead"


class Old:
    """A registry of schema 1, written with the commands of its scripts."""

    def __init__(self, client: redis.Redis, clock: FakeClock, volume: Volume) -> None:
        self.client = client
        self.clock = clock
        self.volume = volume
        client.hset(self.key("meta"), mapping={"schema": "1", "epoch": "e", "token": "7"})
        client.zadd("tempfleet:volumes", {volume.encode(): 0})

    def key(self, name: str) -> bytes:
        return volume_key("tempfleet", self.volume, name)

    def register(self, path: str, key: str, score: float | str) -> None:
        now = self.clock.now_ms
        self.client.hset(self.key("records"), os.fsencode(path), f"1 {now} {now + 1000} 10 i1 - 0\n")
        self.client.zadd(self.key(key), {os.fsencode(path): score})
        for total, amount in (("registered", 1), ("registered_bytes", 10), ("bytes", 10)):
            self.client.hincrby(self.key("stats"), total, amount)

    def hold(self, path: str, score: float | str, reason: str = "") -> None:
        member = os.fsencode(path)
        self.client.zrem(self.key("registry"), member)
        self.client.hdel(self.key("reasons"), member)
        self.client.zadd(self.key("held"), {member: score})
        if reason:
            self.client.hset(self.key("reasons"), member, reason)

    def unhold(self, path: str) -> None:
        member = os.fsencode(path)
        self.client.zrem(self.key("held"), member)
        self.client.hdel(self.key("reasons"), member)
        self.client.zadd(self.key("registry"), {member: self.clock.now_ms + 1000})


@pytest.fixture
def old(real_client: redis.Redis, clock: FakeClock, registry: Registry) -> Old:
    old = Old(real_client, clock, registry.volume)
    old.register(WAITING, "registry", clock.now_ms + 1000)
    old.register(HELD, "held", clock.now_ms + 60_000)
    old.register(FOR_EVER, "held", "+inf")
    old.register(DEAD, "dead", clock.now_ms)
    old.client.hset(
        old.key("reasons"), os.fsencode(FOR_EVER), "legal \udcff".encode("utf-8", "surrogatepass")
    )
    return old


@pytest.fixture
def redis_client(real_client: redis.Redis) -> redis.Redis:
    return real_client


def holds(registry: Registry, *paths: str) -> dict[str, list[Keeper]]:
    return {path: registry.keepers(path) for path in paths or (HELD, FOR_EVER)}


def test_each_hold_becomes_one_named_keeper_and_nothing_else_changes(
    old: Old, registry: Registry, fleet: Fleet, clock: FakeClock
) -> None:
    with pytest.raises(SchemaMismatch, match=r"schema 1, this Tempfleet writes 2\..*tempfleet upgrade"):
        registry.read([HELD])
    with pytest.raises(SchemaMismatch, match="tempfleet upgrade"):
        registry.stats()
    records = old.client.hgetall(old.key("records"))
    assert upgrade(fleet) == [Upgrade("web-1", "/base", "1", 2)]
    assert holds(registry) == {
        HELD: [Keeper("hold", "", clock.now_ms + 60_000)],
        FOR_EVER: [Keeper("hold", "legal \udcff", None)],
    }
    assert old.client.hgetall(old.key("records")) == records
    assert old.client.hlen(old.key("reasons")) == 1
    found = registry.read([WAITING, HELD, FOR_EVER, DEAD])[1]
    assert [record and record.state for record in found] == [
        State.WAITING,
        State.HELD,
        State.HELD,
        State.DEAD,
    ]
    assert registry.audit() == []
    stats = registry.stats()
    assert (stats.imbalance, stats.held, stats.keepers, stats.schema) == (0, 2, 2, "2")
    assert upgrade(fleet) == []
    clock.advance(60)
    assert registry.reap().unheld == 1
    assert registry.unhold(FOR_EVER)
    assert {record.path for record in registry.claim(limit=9, lease_ms=1).records} == {
        WAITING,
        HELD,
        FOR_EVER,
    }


def test_a_dry_run_changes_nothing(old: Old, fleet: Fleet) -> None:
    before = snapshot(old.client)
    assert upgrade(fleet, dry_run=True) == [Upgrade("web-1", "/base", "1", 2)]
    assert snapshot(old.client) == before


def test_many_holds_are_migrated_in_bounded_steps_and_an_interrupted_upgrade_goes_on(
    old: Old, registry: Registry, fleet: Fleet, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"/base/{n}" for n in range(2_500)]
    for n, path in enumerate(paths):
        old.register(path, "held", clock.now_ms + n + 1 if n % 2 else "+inf")

    class Interrupted(Exception):
        pass

    def interrupt(done: int) -> None:
        if 0 < done < 2_502:
            raise Interrupted

    old.client.config_set("slowlog-log-slower-than", "0")
    with pytest.raises(Interrupted):
        upgrade(fleet, progress=interrupt)
    assert 0 < old.client.zcard(old.key("keepers")) < 2_502
    with pytest.raises(SchemaMismatch, match="unfinished: run tempfleet upgrade again"):
        registry.reap()
    assert [found.schema for found in upgrade(fleet, dry_run=True)] == ["1>2"]
    done: list[int] = []
    assert upgrade(fleet, progress=done.append) == [Upgrade("web-1", "/base", "1>2", 2_502)]
    assert done[-1] == 2_502 and max(b - a for a, b in zip([0, *done], done, strict=False)) <= 1_000
    assert registry.audit() == []
    assert registry.stats().keepers == 2_502
    expected = {
        path: [Keeper("hold", "", clock.now_ms + n + 1 if n % 2 else None)]
        for n, path in enumerate(paths[:50])
    }
    assert holds(registry, *paths[:50]) == expected


def test_an_upgrade_that_was_interrupted_takes_over_what_an_older_version_changed_since(
    old: Old, registry: Registry, fleet: Fleet, clock: FakeClock
) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(_done: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        upgrade(fleet, progress=interrupt)
    old.unhold(HELD)
    old.hold(FOR_EVER, clock.now_ms + 5_000, "ticket")
    old.hold(WAITING, "+inf", "new")
    upgrade(fleet)
    assert holds(registry, HELD, FOR_EVER, WAITING) == {
        HELD: [],
        FOR_EVER: [Keeper("hold", "ticket", clock.now_ms + 5_000)],
        WAITING: [Keeper("hold", "new", None)],
    }
    assert registry.audit() == []


def test_live_workers_stop_an_upgrade_unless_it_is_forced(old: Old, fleet: Fleet, registry: Registry) -> None:
    fleet.heartbeat("web-1")
    with pytest.raises(HostLive, match=r"Workers are live \(web-1\)"):
        upgrade(fleet)
    assert old.client.hget(old.key("meta"), "schema") == b"1"
    upgrade(fleet, force=True)
    assert registry.stats().held == 2


def test_only_older_registries_are_upgraded_and_a_newer_one_is_refused(
    old: Old, fleet: Fleet, store: Store, clock: FakeClock
) -> None:
    current = Registry(store, Volume("web-2", "/base"))
    current.hold(_registered(current, "/base/a"), hold_ms=None, name="anna@sh")
    other = Old(old.client, clock, Volume("web-3", "/base"))
    assert [found.host for found in upgrade(fleet)] == ["web-1", "web-3"]
    assert holds(current, "/base/a") == {"/base/a": [Keeper("anna@sh", "", None)]}
    other.client.hset(other.key("meta"), "schema", "3")
    first = Old(old.client, clock, Volume("web-0", "/base"))
    with pytest.raises(SchemaMismatch, match=r"schema 3, this Tempfleet writes 2\. Run the version"):
        upgrade(fleet)
    assert first.client.hget(first.key("meta"), "schema") == b"1"


def _registered(registry: Registry, path: str) -> str:
    registry.register([NewFile(path, 1000)])
    return path


def test_the_console_upgrades_and_other_commands_name_it(
    real_server: EmbeddedServer, real_client: redis.Redis, tmp_path: Path, clock: FakeClock
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    old = Old(real_client, clock, Volume("web-1", str(base.resolve())))
    old.register(str(base.resolve() / "a"), "held", "+inf")

    def run(*args: str) -> Any:
        env = {
            "TEMP_FILE_REDIS_URL": real_server.unix_url,
            "TEMP_FILE_BASE_DIR": str(base),
            "TEMP_FILE_HOST": "web-1",
        }
        return CliRunner().invoke(main, args, env=env)

    for command in (["ls"], ["status"], ["cleanup"], ["hold", str(base / "a")], ["doctor"], ["health"]):
        refused = run(*command)
        assert refused.exit_code != 0, command
        assert "tempfleet upgrade" in refused.output, command
    assert "would be upgraded" in run("upgrade", "--dry-run").output
    answer = json.loads(run("upgrade", "--json").output)
    assert answer == {
        "upgraded": True,
        "registries": [{"host": "web-1", "base_dir": str(base.resolve()), "schema": "1", "held": 1}],
    }
    assert run("upgrade").output == "No registry needs an upgrade.\n"
    assert "Held by: hold." in run("explain", str(base / "a")).output
    assert run("unhold", str(base / "a"), "--name", "hold", "--force").exit_code == 0
