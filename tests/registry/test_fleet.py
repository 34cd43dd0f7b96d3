"""Volumes, hosts and heartbeats, on fakeredis and on a real server."""

from __future__ import annotations

import pytest
import redis

from tempfleet import HostLive, RegistryError, SchemaMismatch, Volume
from tempfleet.records import NewFile
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.values import Horizon, Nack
from tempfleet.testing import FakeClock

WEB1, WEB2 = Volume("web-1", "/base"), Volume("web-2", "/base")


def test_a_volume_is_known_from_its_first_registration_on(fleet: Fleet) -> None:
    assert fleet.volumes() == []
    fleet.registry(WEB2).register([NewFile("/base/a", 1000)])
    fleet.registry(WEB1).register([NewFile("/base/a", 1000)])
    assert fleet.volumes() == [WEB1, WEB2]
    assert fleet.volumes(host="web-2") == [WEB2]


def test_a_host_is_live_until_its_last_heartbeat_is_a_minute_old(fleet: Fleet, clock: FakeClock) -> None:
    fleet.heartbeat("web-1")
    clock.advance(59.9)
    fleet.heartbeat("web-2")
    assert fleet.live_hosts() == {"web-1", "web-2"}
    clock.advance(0.1)
    assert fleet.live_hosts() == {"web-2"}
    assert [(host.name, host.silent_seconds, host.live) for host in fleet.hosts()] == [
        ("web-1", 60.0, False),
        ("web-2", 0.1, True),
    ]


def test_a_silent_host_is_retired_and_its_records_stay(fleet: Fleet, clock: FakeClock) -> None:
    fleet.registry(WEB1).register([NewFile("/base/a", 1000)])
    fleet.heartbeat("web-1")
    with pytest.raises(HostLive):
        fleet.retire("web-1")
    assert fleet.live_hosts() == {"web-1"}
    clock.advance(60)
    assert fleet.retire("web-1")
    assert not fleet.retire("web-1")
    assert fleet.hosts() == []
    assert fleet.stats([WEB1])[WEB1].waiting == 1


def test_all_volumes_are_reaped_and_counted_in_one_round_trip_each(fleet: Fleet, clock: FakeClock) -> None:
    for volume in (WEB1, WEB2):
        registry = fleet.registry(volume)
        registry.register([NewFile("/base/a", 1000), NewFile("/base/b", 1000)])
        clock.advance(2)
        registry.claim(limit=1, lease_ms=1000)
    clock.advance(1)
    reaped = fleet.reap([WEB1, WEB2])
    assert [not isinstance(answer, RegistryError) and answer.recovered for answer in reaped.values()] == [
        1,
        1,
    ]
    assert [stats.due for stats in fleet.stats([WEB1, WEB2]).values()] == [2, 2]


def test_a_damaged_volume_does_not_keep_the_others_from_being_reaped(fleet: Fleet) -> None:
    fleet.registry(WEB1).register([NewFile("/base/a", 1000)])
    fleet.store.client.set(b"tempfleet:{web-2|/base}:claims", "not a set")
    reaped = fleet.reap([WEB1, WEB2])
    assert isinstance(reaped[WEB2], RegistryError)
    assert not isinstance(reaped[WEB1], RegistryError)


def test_a_message_is_marked_once_until_it_is_taken(fleet: Fleet) -> None:
    assert fleet.mark_waiting("sweep")
    assert not fleet.mark_waiting("sweep")
    assert fleet.mark_waiting("delete_due web-1|/base")
    fleet.mark_taken("sweep")
    assert fleet.mark_waiting("sweep")


@pytest.mark.parametrize("member", ["", "web-1", "web-1|relative", "|/base"])
def test_what_is_not_a_volume_is_refused(member: str) -> None:
    with pytest.raises(ValueError, match="not a volume"):
        Volume.decode(member)


def test_a_base_directory_may_hold_any_bytes_and_bars() -> None:
    volume = Volume("web-1", "/a|b{c}\udcff\n")
    assert Volume.decode(volume.encode()) == volume


def test_a_damaged_name_of_a_volume_hides_no_other(fleet: Fleet, redis_client: redis.Redis) -> None:
    fleet.announce(Volume("web-1", "/base"))
    redis_client.zadd("tempfleet:volumes", {"rubbish": 0, "|/base": 0, "web-1|relative": 0})
    assert fleet.volumes() == [Volume("web-1", "/base")]


def test_what_is_registered_among_paths_is_read_from_all_volumes_in_one_round_trip(
    fleet: Fleet, clock: FakeClock
) -> None:
    registry, other = fleet.registry(WEB1), fleet.registry(Volume("web-1", "/other"))
    names = ("due", "promised", "held", "forever", "ended", "claimed", "dead", "dead early", "retried")
    for name in names:
        seconds = 1000 if name in ("promised", "held", "dead early") else 1
        registry.register([NewFile(f"/base/{name}", seconds * 1000)])
    other.register([NewFile("/base/promised", 5000)])
    began_ms = clock.now_ms
    registry.hold("/base/held", hold_ms=100_000)
    registry.hold("/base/held", hold_ms=1_000, name="anna@sh")
    registry.hold("/base/forever", hold_ms=None)
    registry.hold("/base/ended", hold_ms=1000)
    clock.advance(2)
    for name in ("claimed", "dead", "dead early", "retried"):
        claim = registry.claim_paths([f"/base/{name}"], lease_ms=1000, until_ms=began_ms)
        if name.startswith("dead"):
            registry.nack(claim.token, [Nack(f"/base/{name}", bury=True)])
        if name == "retried":
            registry.nack(claim.token, [Nack(f"/base/{name}", delay_ms=500)])
    paths = [f"/base/{name}" for name in (*names, "unknown")]
    fleet.inside([WEB1], paths)
    before = fleet.store.round_trips
    found = fleet.inside([WEB1, other.volume], paths)
    assert fleet.store.round_trips - before == 1
    own, others = found[WEB1], found[other.volume]
    assert not isinstance(own, RegistryError)
    assert {inside.now_ms for inside in own} == {began_ms + 2000}
    assert {inside.path.removeprefix("/base/"): (inside.kind, inside.until_ms) for inside in own} == {
        "due": ("due", began_ms + 1000),
        "promised": ("promised", began_ms + 1_000_000),
        "held": ("held", began_ms + 1_000_000),
        "forever": ("held", None),
        "ended": ("ended", None),
        "claimed": ("claimed", None),
        "dead": ("dead", None),
        "dead early": ("promised", began_ms + 1_000_000),
        "retried": ("promised", began_ms + 2500),
    }
    assert others == [("/base/promised", "promised", began_ms + 5000, began_ms + 2000)]
    assert fleet.inside([], paths) == {}


def test_a_clock_that_jumped_ahead_makes_nothing_in_a_directory_due(fleet: Fleet, clock: FakeClock) -> None:
    fleet.registry(WEB1).register([NewFile("/base/a", 1000)])
    horizon = Horizon(clock.now_ms + 500, clock.now_ms)
    clock.advance(5)
    (jumped,) = fleet.inside([WEB1], ["/base/a"], horizon=horizon).values()
    (due,) = fleet.inside([WEB1], ["/base/a"]).values()
    assert not isinstance(jumped, RegistryError)
    assert not isinstance(due, RegistryError)
    assert [(inside.kind, inside.until_ms) for inside in jumped] == [("promised", clock.now_ms - 4000)]
    assert [inside.kind for inside in due] == ["due"]


def test_a_volume_that_cannot_be_read_does_not_hide_the_others(fleet: Fleet) -> None:
    for volume in (WEB1, WEB2):
        fleet.registry(volume).register([NewFile("/base/a", 1000)])
    fleet.store.client.hset(fleet.registry(WEB2).keys["meta"], "schema", "1")
    found = fleet.inside([WEB1, WEB2], ["/base/a"])
    readable = found[WEB1]
    assert not isinstance(readable, RegistryError)
    assert [inside.kind for inside in readable] == ["promised"]
    assert isinstance(found[WEB2], SchemaMismatch)
