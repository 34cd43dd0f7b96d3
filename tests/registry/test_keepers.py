"""Keepers: a file is held while it has one. Each law on fakeredis and on a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tempfleet import AlreadyClaimed, NotRegistered, SchemaMismatch, State, Volume
from tempfleet.embedded import EmbeddedServer
from tempfleet.records import FileRecord, Keeper, NewFile
from tempfleet.registry.connection import connect
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.keys import volume_key
from tempfleet.registry.registry import Registry
from tempfleet.registry.store import Store
from tempfleet.testing import FakeClock

PATH = "/base/a"
LEASE_MS = 5_000


def new(path: str = PATH, *, ttl_ms: int = 1_000, flags: str = "") -> NewFile:
    return NewFile(path, ttl_ms, size_bytes=10, identity="i1", flags=flags)


def record_of(registry: Registry, path: str = PATH) -> FileRecord:
    record = registry.read([path])[1][0]
    assert record is not None
    return record


def claimed(registry: Registry) -> list[str]:
    return [record.path for record in registry.claim(limit=1000, lease_ms=LEASE_MS).records]


def key(registry: Registry, name: str) -> bytes:
    return volume_key("tempfleet", registry.volume, name)


def test_a_hold_is_not_ended_by_anybody_elses_shorter_hold(registry: Registry, clock: FakeClock) -> None:
    registry.register([new()])
    registry.hold(PATH, hold_ms=None, reason="legal hold", name="legal")
    registry.hold(PATH, hold_ms=1, name="anna@sh")
    clock.advance(3600)
    assert registry.reap().unheld == 0
    assert registry.keepers(PATH) == [Keeper("legal", "legal hold", None)]
    assert claimed(registry) == []
    assert registry.unhold(PATH, name="legal")
    assert claimed(registry) == [PATH]


def test_a_file_is_held_until_the_last_of_its_holds_ends(registry: Registry, clock: FakeClock) -> None:
    registry.register([new()])
    registry.hold(PATH, hold_ms=9_000, name="b")
    registry.hold(PATH, hold_ms=5_000, name="a", reason="first")
    record = record_of(registry)
    assert (record.due_ms, record.keepers, record.hold_reason) == (clock.now_ms + 9_000, 2, "")
    clock.advance(8.999)
    assert (registry.reap().unheld, claimed(registry)) == (0, [])
    clock.advance(0.001)
    assert (registry.reap().unheld, claimed(registry)) == (1, [PATH])


def test_one_name_has_one_hold_and_the_longer_end_wins_with_its_reason(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new()])
    start = clock.now_ms
    assert registry.hold(PATH, hold_ms=5_000, reason="long", name="a") == start + 5_000
    assert registry.hold(PATH, hold_ms=1_000, reason="short", name="a") == start + 5_000
    assert registry.keepers(PATH) == [Keeper("a", "long", start + 5_000)]
    assert registry.hold(PATH, hold_ms=6_000, name="a") == start + 6_000
    assert registry.keepers(PATH) == [Keeper("a", "long", start + 6_000)]
    assert registry.hold(PATH, hold_ms=None, reason="for ever", name="a") is None
    assert registry.hold(PATH, hold_ms=7_000, reason="short", name="a") is None
    assert registry.keepers(PATH) == [Keeper("a", "for ever", None)]


def test_an_ended_hold_leaves_no_reason_to_the_next_one(registry: Registry, clock: FakeClock) -> None:
    registry.register([new()])
    registry.hold(PATH, hold_ms=1_000, reason="old", name="a")
    clock.advance(1)
    registry.hold(PATH, hold_ms=1_000, name="a")
    assert registry.keepers(PATH) == [Keeper("a", "", clock.now_ms + 1_000)]


def test_a_hold_ends_only_the_hold_of_its_own_name(registry: Registry) -> None:
    registry.register([new()])
    registry.hold(PATH, hold_ms=None, name="a")
    assert not registry.unhold(PATH, name="b")
    registry.hold(PATH, hold_ms=None, name="b")
    assert registry.unhold(PATH, name="a")
    assert not registry.unhold(PATH, name="a")
    assert record_of(registry).state is State.HELD
    assert registry.unhold(PATH, name="b")
    assert record_of(registry).state is State.WAITING


def test_a_hold_can_take_the_place_of_another_in_one_move(registry: Registry) -> None:
    registry.register([new()])
    registry.hold(PATH, hold_ms=9_000, name="message", reason="sent")
    registry.hold(PATH, hold_ms=1_000, name="run", instead="message")
    assert [keeper.name for keeper in registry.keepers(PATH)] == ["run"]
    registry.hold(PATH, hold_ms=1_000, name="run", instead="run")
    assert [keeper.name for keeper in registry.keepers(PATH)] == ["run"]
    assert registry.stats().keepers == 1


def test_a_hold_rescues_a_due_file_until_it_is_claimed(registry: Registry, clock: FakeClock) -> None:
    registry.register([new()])
    clock.advance(3600)
    registry.hold(PATH, hold_ms=1_000)
    assert registry.claim(limit=1, lease_ms=LEASE_MS).records == ()
    registry.unhold(PATH)
    assert registry.claim(limit=1, lease_ms=LEASE_MS).records
    with pytest.raises(AlreadyClaimed):
        registry.hold(PATH, hold_ms=1_000)
    with pytest.raises(NotRegistered):
        registry.hold("/base/absent", hold_ms=1_000)
    assert registry.stats().keepers == 0


def test_extending_a_keeper_never_creates_one_and_never_shortens_it(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new(), new("/base/b"), new("/base/c")])
    registry.hold(PATH, hold_ms=5_000, name="run")
    registry.hold("/base/b", hold_ms=None, name="run")
    assert registry.extend_keepers([PATH, "/base/b", "/base/c"], name="run", keep_ms=1_000) == ["/base/c"]
    assert registry.keepers(PATH) == [Keeper("run", "", clock.now_ms + 5_000)]
    assert registry.extend_keepers([PATH, "/base/b"], name="run", keep_ms=9_000) == []
    assert registry.keepers(PATH) == [Keeper("run", "", clock.now_ms + 9_000)]
    assert registry.keepers("/base/b") == [Keeper("run", "", None)]
    assert registry.extend_keepers([PATH], name="other", keep_ms=1_000) == [PATH]
    registry.unhold(PATH, name="run")
    assert registry.extend_keepers([PATH], name="run", keep_ms=1_000) == [PATH]
    assert record_of(registry).state is State.WAITING
    assert registry.audit() == []


@pytest.mark.parametrize(("flags", "is_due"), [("", True), ("s", False), ("c", True)])
def test_after_the_last_keeper_a_file_is_due_at_once_if_asked_for_unless_it_is_shared(
    registry: Registry, clock: FakeClock, flags: str, is_due: bool
) -> None:
    (done,) = registry.register([new(ttl_ms=60_000, flags=flags)])
    registry.hold(PATH, hold_ms=None, name="a", own_ms=done.registered_ms)
    registry.hold(PATH, hold_ms=None, name="b", own_ms=done.registered_ms)
    assert registry.unhold(PATH, name="a", due_now=True)
    assert record_of(registry).state is State.HELD
    assert registry.unhold(PATH, name="b", due_now=True)
    record = record_of(registry)
    assert record.due_ms == record.deadline_ms == clock.now_ms + (0 if is_due else 60_000)


def test_a_new_file_of_an_unregistered_name_is_not_held(registry: Registry) -> None:
    registry.register([new()])
    for n in range(2_001):
        registry.hold(PATH, hold_ms=None, name=f"k{n}", reason="r")
    registry.register([new("/base/a/b"), new("/base/ab")])
    registry.hold("/base/a/b", hold_ms=None)
    registry.hold("/base/ab", hold_ms=None)
    assert (registry.stats().keepers, len(registry.keepers(PATH))) == (2_003, 2_001)
    assert (record_of(registry).keepers, record_of(registry).due_ms) == (1000, None)
    registry.unregister([PATH])
    registry.register([new()])
    assert (record_of(registry).state, registry.keepers(PATH)) == (State.WAITING, [])
    assert registry.stats().keepers == 2
    assert registry.unhold("/base/a/b")
    assert registry.unhold("/base/ab")


def test_a_kept_file_that_is_registered_anew_stays_kept(registry: Registry, clock: FakeClock) -> None:
    registry.register([new()])
    registry.hold(PATH, hold_ms=60_000, reason="why")
    before = registry.keepers(PATH)
    for identity in ("i1", "i2"):
        registry.register([NewFile(PATH, 1, identity=identity)])
        assert (record_of(registry).state, registry.keepers(PATH)) == (State.HELD, before)


def test_a_reap_ends_no_more_keepers_than_its_limit(registry: Registry, clock: FakeClock) -> None:
    registry.register([new(), new("/base/b")])
    for name in ("x", "y", "z"):
        registry.hold(PATH, hold_ms=1, name=name)
    registry.hold("/base/b", hold_ms=None, name="x")
    clock.advance(1)
    assert list(registry.ended_hold_paths()) == [[PATH]]
    reaped = [registry.reap(limit=2), registry.reap(limit=2)]
    assert [(each.unheld, each.more) for each in reaped] == [(0, True), (1, False)]
    assert list(registry.ended_hold_paths()) == []
    assert registry.stats().held == 1


@pytest.mark.parametrize("broken", ["keepers", "kept", "held"])
def test_the_audit_names_a_file_with_half_a_keeper(
    registry: Registry, redis_client: redis.Redis, broken: str
) -> None:
    registry.register([new(), new("/base/b")])
    registry.hold(PATH, hold_ms=1)
    registry.hold("/base/b", hold_ms=1)
    assert registry.audit() == []
    redis_client.zrem(key(registry, broken), PATH if broken == "held" else f"{PATH}\0hold")
    assert registry.audit() == [PATH]


@pytest.mark.parametrize("schema", ["1", "3"])
@pytest.mark.parametrize(
    "call",
    [
        lambda registry: registry.register([new()]),
        lambda registry: registry.renew(PATH, ttl_ms=1),
        lambda registry: registry.hold(PATH, hold_ms=1),
        lambda registry: registry.unhold(PATH),
        lambda registry: registry.extend_keepers([PATH], name="a", keep_ms=1),
        lambda registry: registry.claim(limit=1, lease_ms=1),
        lambda registry: registry.claim_paths([PATH], lease_ms=1, until_ms=1),
        lambda registry: registry.reap(),
        lambda registry: registry.revive([PATH]),
        lambda registry: registry.unregister([PATH]),
        lambda registry: registry.read([PATH]),
    ],
)
def test_a_registry_of_another_schema_is_not_touched(
    registry: Registry, redis_client: redis.Redis, call: Callable[[Registry], object], schema: str
) -> None:
    redis_client.hset(key(registry, "meta"), "schema", schema)
    with pytest.raises(SchemaMismatch, match="tempfleet upgrade" if schema == "1" else "Run the version"):
        call(registry)
    assert redis_client.keys() in ([key(registry, "meta")], [key(registry, "meta"), b"tempfleet:volumes"])


def test_a_sweep_reaps_the_other_volumes(fleet: Fleet, registry: Registry, redis_client: redis.Redis) -> None:
    other = Registry(fleet.store, Volume("web-2", "/base"))
    other.register([new()])
    redis_client.hset(key(registry, "meta"), "schema", "1")
    reaped = fleet.reap([registry.volume, other.volume])
    assert isinstance(reaped[registry.volume], SchemaMismatch)
    assert not isinstance(reaped[other.volume], Exception)


def test_keepers_last_and_end_while_redis_is_full(tmp_path: Path, clock: FakeClock) -> None:
    with EmbeddedServer.start(tmp_path, maxmemory="8mb", maxmemory_policy="noeviction") as server:
        client = connect(server.unix_url)
        registry = Registry(Store(client, clock=clock), Volume("web-1", "/base"))
        registry.register([new(), new("/base/b")])
        registry.hold(PATH, hold_ms=1_000, name="run")
        client.config_set("maxmemory", "1")
        assert registry.extend_keepers([PATH], name="run", keep_ms=5_000) == []
        assert registry.keepers(PATH)[0].ends_ms == clock.now_ms + 5_000
        registry.hold("/base/b", hold_ms=1_000, name="run")
        assert registry.unhold(PATH, name="run")
        clock.advance(3600)
        assert registry.reap().unheld == 1
        assert registry.unregister([PATH, "/base/b"]) == {PATH: "released", "/base/b": "released"}
        assert (registry.audit(), registry.stats().keepers) == ([], 0)
