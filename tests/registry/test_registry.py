"""The registry's laws, each on fakeredis and on a real server."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tempfleet import (
    AlreadyClaimed,
    Deletion,
    LeaseLost,
    Outcome,
    RegistryError,
    State,
    Volume,
)
from tempfleet.records import FileRecord, NewFile
from tempfleet.registry.codec import pack
from tempfleet.registry.keys import volume_key
from tempfleet.registry.registry import Registry
from tempfleet.registry.store import Store
from tempfleet.registry.values import NO_LIMITS, Claim, Nack
from tempfleet.testing import FakeClock

MINUTE_MS = 60_000
LEASE_MS = 5_000


def new(path: str = "/base/a", *, ttl_ms: int = MINUTE_MS, identity: str = "i1", size: int = 10) -> NewFile:
    return NewFile(path, ttl_ms, size_bytes=size, identity=identity)


def record_of(registry: Registry, path: str) -> FileRecord:
    record = registry.read([path])[1][0]
    assert record is not None
    return record


def state_of(registry: Registry, path: str) -> State | None:
    record = registry.read([path])[1][0]
    return record.state if record else None


def claim_all(registry: Registry, clock: FakeClock) -> Claim:
    clock.advance(3600)
    return registry.claim(limit=1000, lease_ms=LEASE_MS)


def acked(claim: Claim, outcome: Outcome = Outcome.DELETED, freed: int = 10) -> list[Deletion]:
    return [Deletion(record, outcome, freed_bytes=freed) for record in claim.records]


def kept(claim: Claim, **fields: object) -> list[Nack]:
    return [Nack(record.path, **fields) for record in claim.records]  # type: ignore[arg-type]


# -- register


def test_a_registered_file_waits_until_its_deadline(registry: Registry, clock: FakeClock) -> None:
    (done,) = registry.register([new(ttl_ms=5000)])
    assert (done.code, done.deadline_ms - done.registered_ms) == ("new", 5000)
    assert registry.claim(limit=10, lease_ms=LEASE_MS).records == ()
    clock.advance(5)
    (record,) = registry.claim(limit=10, lease_ms=LEASE_MS).records
    assert (record.path, record.identity, record.size_bytes) == ("/base/a", "i1", 10)


def test_registering_again_restarts_the_age_and_keeps_the_later_deadline(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new(ttl_ms=60_000)])
    clock.advance(10)
    (sooner,) = registry.register([new(ttl_ms=5_000)])
    assert sooner.code == "again"
    assert sooner.registered_ms == clock.now_ms
    assert sooner.deadline_ms == clock.now_ms + 50_000
    (later,) = registry.register([new(ttl_ms=90_000)])
    assert later.deadline_ms == record_of(registry, "/base/a").due_ms == clock.now_ms + 90_000
    assert registry.stats().total("registered") == 1


def test_another_file_under_a_known_name_replaces_the_record(registry: Registry, clock: FakeClock) -> None:
    registry.register([new(ttl_ms=90_000, identity="old", size=7)])
    (done,) = registry.register([new(ttl_ms=1_000, identity="new", size=30)])
    assert done.code == "swapped"
    record = record_of(registry, "/base/a")
    assert (record.identity, record.deadline_ms) == ("new", clock.now_ms + 1_000)
    stats = registry.stats()
    assert (stats.bytes, stats.total("registered"), stats.imbalance) == (30, 1, 0)


def test_registering_with_an_age_counts_the_time_to_live_from_then(
    registry: Registry, clock: FakeClock
) -> None:
    (done,) = registry.register([NewFile("/base/a", 60_000, age_ms=50_000)])
    assert done.registered_ms == clock.now_ms - 50_000
    assert done.deadline_ms == clock.now_ms + 10_000


def settle_ack(registry: Registry, claim: Claim) -> None:
    registry.ack(claim.token, acked(claim))


def settle_nack(registry: Registry, claim: Claim) -> None:
    registry.nack(claim.token, kept(claim, delay_ms=MINUTE_MS, reason="EACCES"))


def settle_bury(registry: Registry, claim: Claim) -> None:
    registry.nack(claim.token, kept(claim, bury=True, reason="symlink"))


@pytest.mark.parametrize(
    "settle", [settle_ack, settle_nack, settle_bury, None], ids=["ack", "nack", "bury", "reap"]
)
def test_a_new_file_waits_behind_the_claim_of_the_old_one_and_then_has_a_life_of_its_own(
    registry: Registry, clock: FakeClock, settle: Callable[[Registry, Claim], None] | None
) -> None:
    registry.register([new(identity="old", size=7)])
    claim = claim_all(registry, clock)
    (done,) = registry.register([new(identity="young", ttl_ms=9_000, size=30)])
    assert done.code == "behind"
    assert record_of(registry, "/base/a").identity == "old"
    if settle is None:
        clock.advance(LEASE_MS / 1000)
        assert registry.reap().recovered == 1
    else:
        settle(registry, claim)
    record = record_of(registry, "/base/a")
    assert (record.identity, record.state, record.due_ms) == ("young", State.WAITING, done.deadline_ms)
    assert (record.attempts, record.last_error) == (0, "")
    stats = registry.stats()
    assert (stats.total("registered"), stats.imbalance, stats.bytes, stats.behind) == (2, 0, 30, 0)
    assert registry.audit() == []


def test_a_large_batch_is_registered_whole(registry: Registry) -> None:
    files = [new(f"/base/{i}") for i in range(2500)]
    assert [done.code for done in registry.register(files)] == ["new"] * 2500
    assert len(registry) == registry.stats().waiting == 2500
    assert sorted(path for page in registry.paths() for path in page) == sorted(file.path for file in files)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.binary(min_size=1, max_size=200).filter(lambda name: b"\0" not in name))
def test_any_bytes_that_are_a_legal_path_come_back_as_they_went(registry: Registry, name: bytes) -> None:
    path = os.fsdecode(b"/base/" + name)
    registry.register([new(path)])
    assert record_of(registry, path).path == path
    assert path in {other for page in registry.paths() for other in page}
    assert registry.unregister([path]) == {path: "released"}


def test_tags_come_back(registry: Registry) -> None:
    registry.register([NewFile("/base/a", 1000, tags=("report", "größe\n"))])
    assert record_of(registry, "/base/a").tags == ("report", "größe\n")


def test_arguments_are_checked_before_the_first_write(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="numbers"):
        registry.store.run(
            "register",
            registry.keys,
            epoch="e",
            disk="",
            disks="",
            **NO_LIMITS.as_args(),
            more=[*pack(new("/base/a")), "", *pack(new("/base/b", ttl_ms="soon")), ""],  # type: ignore[arg-type]
        )
    assert len(registry) == 0


# -- renew, hold, unhold, unregister


def test_a_dead_letter_is_not_among_those_that_are_tried_again(registry: Registry, clock: FakeClock) -> None:
    registry.register([new("/base/a"), new("/base/b")])
    claim = claim_all(registry, clock)
    registry.nack(claim.token, [Nack("/base/a", delay_ms=5), Nack("/base/b", bury=True)])
    assert (registry.stats().retrying, registry.stats().dead) == (1, 1)
    registry.revive(["/base/b"])
    assert registry.stats().retrying == 1  # as if it had never failed


def test_a_hold_has_a_reason_that_goes_with_it(registry: Registry, clock: FakeClock) -> None:
    registry.register([new()])
    registry.hold("/base/a", hold_ms=1_000, reason="ticket 117 \udcff\n")
    assert record_of(registry, "/base/a").hold_reason == "ticket 117 \udcff\n"
    for end in (lambda: registry.unhold("/base/a"), lambda: clock.advance(1) or registry.reap()):
        registry.hold("/base/a", hold_ms=1_000, reason="again")
        end()
        assert record_of(registry, "/base/a").hold_reason == ""
    registry.hold("/base/a", hold_ms=None, reason="again")
    registry.unregister(["/base/a"])
    registry.register([new()])
    assert record_of(registry, "/base/a").hold_reason == ""


def test_a_held_file_that_is_renewed_or_registered_again_stays_held(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new()])
    registry.hold("/base/a", hold_ms=None)
    deadline = registry.renew("/base/a", ttl_ms=500_000)
    registry.register([new(ttl_ms=1)])
    assert state_of(registry, "/base/a") is State.HELD
    registry.unhold("/base/a")
    assert record_of(registry, "/base/a").due_ms == deadline


def test_what_is_released_is_forgotten_and_counted(registry: Registry) -> None:
    registry.register([new("/base/a"), new("/base/b")])
    assert registry.unregister(["/base/a", "/base/x"]) == {"/base/a": "released", "/base/x": "absent"}
    assert registry.unregister(["/base/b"], total="missing") == {"/base/b": "released"}
    stats = registry.stats()
    assert (stats.total("released"), stats.total("missing"), stats.active, stats.bytes) == (1, 1, 0, 0)
    assert stats.imbalance == 0


def test_what_was_registered_after_it_was_looked_at_is_not_released_for_what_was_seen(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new("/base/a"), new("/base/b")])
    seen_ms, _ = registry.read(["/base/a", "/base/b"])
    clock.advance(0.001)
    registry.register([new("/base/a")])
    codes = registry.unregister(["/base/a", "/base/b"], total="missing", until_ms=seen_ms)
    assert codes == {"/base/a": "newer", "/base/b": "released"}
    stats = registry.stats()
    assert (stats.active, stats.total("missing"), stats.imbalance) == (1, 1, 0)


@pytest.mark.parametrize("after", ["nacked", "reaped"])
def test_a_file_whose_destruction_has_begun_can_neither_be_renewed_nor_held_nor_released(
    registry: Registry, clock: FakeClock, after: str
) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    assert registry.begin(claim.token, "/base/a")
    if after == "nacked":
        registry.nack(claim.token, kept(claim))
    else:
        clock.advance(LEASE_MS / 1000)
        registry.reap()
    record = record_of(registry, "/base/a")
    assert (record.state, record.flags) == (State.WAITING, "b" if after == "nacked" else "br")
    with pytest.raises(AlreadyClaimed):
        registry.renew("/base/a", ttl_ms=1)
    with pytest.raises(AlreadyClaimed):
        registry.hold("/base/a", hold_ms=None)
    assert registry.unregister(["/base/a"]) == {"/base/a": "claimed"}
    assert registry.unregister(["/base/a"], total="missing") == {"/base/a": "claimed"}
    assert [result.code for result in registry.register([new()])] == ["claimed"]
    assert [result.code for result in registry.register([new(identity="i2")])] == ["swapped"]
    assert record_of(registry, "/base/a").flags == ""


def test_a_person_may_forget_a_dead_letter_whose_destruction_has_begun(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    registry.begin(claim.token, "/base/a")
    registry.nack(claim.token, kept(claim, bury=True))
    assert registry.unregister(["/base/a"], total="missing") == {"/base/a": "released"}


@pytest.mark.parametrize("reaped", [False, True])
def test_destruction_cannot_begin_after_the_end_of_the_lease(
    registry: Registry, clock: FakeClock, reaped: bool
) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    clock.advance(LEASE_MS / 1000)
    if reaped:
        registry.reap()
    assert not registry.begin(claim.token, "/base/a")
    assert "b" not in record_of(registry, "/base/a").flags


# -- claim, extend


def test_the_soonest_deadline_is_claimed_first(registry: Registry, clock: FakeClock) -> None:
    registry.register(
        [new("/base/late", ttl_ms=3000), new("/base/soon", ttl_ms=1000), new("/base/mid", ttl_ms=2000)]
    )
    clock.advance(10)
    claim = registry.claim(limit=2, lease_ms=LEASE_MS)
    assert [record.path for record in claim.records] == ["/base/soon", "/base/mid"]
    assert claim.left == 1


def test_two_claims_never_share_a_file(registry: Registry, clock: FakeClock) -> None:
    registry.register([new(f"/base/{i}") for i in range(30)])
    clock.advance(3600)
    claims = [registry.claim(limit=7, lease_ms=LEASE_MS) for _ in range(6)]
    paths = [record.path for claim in claims for record in claim.records]
    assert len(paths) == len(set(paths)) == 30


def test_tokens_only_grow_even_when_the_clock_stands_or_steps_back(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new(f"/base/{i}", ttl_ms=1) for i in range(4)])
    clock.advance(3600)
    tokens = [registry.claim(limit=1, lease_ms=LEASE_MS).token for _ in range(2)]
    registry.register([new(f"/base/again{i}", ttl_ms=1) for i in range(2)])
    clock.advance(-1800)
    registry.register([new(f"/base/back{i}", ttl_ms=1) for i in range(2)])
    clock.advance(1)
    tokens += [registry.claim(limit=1, lease_ms=LEASE_MS).token for _ in range(2)]
    assert tokens == sorted(set(tokens))


def test_tokens_keep_all_their_digits(
    registry: Registry, clock: FakeClock, redis_client: redis.Redis
) -> None:
    registry.register([new("/base/a"), new("/base/b")])
    clock.advance(3600)
    first = registry.claim(limit=1, lease_ms=LEASE_MS)
    second = registry.claim(limit=1, lease_ms=LEASE_MS)
    assert second.token == first.token + 1
    assert registry.ack(first.token, acked(second)) == 0
    assert registry.ack(second.token, acked(second)) == 1


def test_named_files_are_claimed_if_they_wait_and_are_old_enough(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new("/base/old"), new("/base/held")])
    registry.hold("/base/held", hold_ms=None)
    until = clock.now_ms
    clock.advance(1)
    registry.register([new("/base/young")])
    claim = registry.claim_paths(
        ["/base/old", "/base/held", "/base/young", "/base/none"], lease_ms=LEASE_MS, until_ms=until
    )
    assert [record.path for record in claim.records] == ["/base/old"]


def test_a_claim_that_is_extended_is_not_reaped(registry: Registry, clock: FakeClock) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    clock.advance(4)
    registry.extend(claim.token, lease_ms=LEASE_MS)
    clock.advance(4)
    assert registry.reap().recovered == 0
    clock.advance(1)
    assert registry.reap().recovered == 1
    with pytest.raises(LeaseLost):
        registry.extend(claim.token, lease_ms=LEASE_MS)


def test_a_lost_record_is_claimed_all_the_same_so_that_it_can_be_buried(
    registry: Registry, clock: FakeClock, redis_client: redis.Redis
) -> None:
    registry.register([new()])
    redis_client.hdel(volume_key("tempfleet", registry.volume, "records"), "/base/a")
    assert registry.audit() == ["/base/a"]
    claim = claim_all(registry, clock)
    assert [record.identity for record in claim.records] == ["?"]
    assert registry.nack(claim.token, kept(claim, bury=True, reason="no-record")) == 1


# -- ack, nack, reap, revive


@pytest.mark.parametrize("outcome", [Outcome.DELETED, Outcome.MISSING, Outcome.REPLACED])
def test_what_is_gone_is_forgotten_and_counted_by_its_outcome(
    registry: Registry, clock: FakeClock, outcome: Outcome
) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    assert registry.ack(claim.token, acked(claim, outcome)) == 1
    stats = registry.stats()
    assert (stats.active, stats.claims, stats.total(outcome.value), stats.imbalance) == (0, 0, 1, 0)
    assert stats.total("deleted_bytes") == (10 if outcome is Outcome.DELETED else 0)
    assert len(registry) == 0


def test_age_and_lag_of_what_is_deleted_fall_into_buckets(registry: Registry, clock: FakeClock) -> None:
    registry.register([new("/base/a", ttl_ms=5_000), new("/base/b", ttl_ms=20_000)])
    clock.advance(21)
    claim = registry.claim(limit=10, lease_ms=LEASE_MS)
    registry.ack(claim.token, acked(claim))
    stats = registry.stats()
    age, lag = stats.histogram("age"), stats.histogram("lag")
    assert (age.buckets["60"], age.count, age.sum_seconds) == (2, 2, 42.0)
    assert (lag.buckets["1"], lag.buckets["60"], lag.sum_seconds) == (1, 1, 17.0)


def test_a_stale_claim_cannot_ack_or_nack_after_its_lease_was_reaped(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new()])
    stale = claim_all(registry, clock)
    clock.advance(LEASE_MS / 1000)
    registry.reap()
    current = registry.claim(limit=1, lease_ms=LEASE_MS)
    before = registry.stats().totals
    assert registry.ack(stale.token, acked(stale)) == 0
    assert registry.nack(stale.token, kept(stale, bury=True, reason="late")) == 0
    assert registry.stats().totals == before
    assert registry.ack(current.token, acked(current)) == 1


def test_acking_twice_changes_nothing(registry: Registry, clock: FakeClock) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    assert [registry.ack(claim.token, acked(claim)) for _ in range(2)] == [1, 0]
    assert registry.stats().total("deleted") == 1


def test_a_failed_file_is_due_again_later_with_its_error_kept(registry: Registry, clock: FakeClock) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    registry.nack(claim.token, kept(claim, delay_ms=7_000, reason="EACCES"))
    record = record_of(registry, "/base/a")
    assert (record.attempts, record.last_error, record.due_ms) == (1, "EACCES", clock.now_ms + 7_000)
    assert registry.stats().total("kept:EACCES") == registry.stats().retrying == 1
    clock.advance(6.9)
    assert registry.claim(limit=1, lease_ms=LEASE_MS).records == ()
    clock.advance(0.1)
    (again,) = registry.claim(limit=1, lease_ms=LEASE_MS).records
    assert again.attempts == 1


def test_what_is_handed_back_waits_at_its_own_deadline_and_counts_as_no_failure(
    registry: Registry, clock: FakeClock
) -> None:
    (done,) = registry.register([new()])
    claim = claim_all(registry, clock)
    registry.nack(claim.token, kept(claim, counts=False))
    record = record_of(registry, "/base/a")
    assert (record.attempts, record.due_ms, record.state) == (0, done.deadline_ms, State.WAITING)


def test_a_buried_file_is_never_due_until_it_is_revived(registry: Registry, clock: FakeClock) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    registry.nack(claim.token, kept(claim, bury=True, reason="symlink"))
    assert state_of(registry, "/base/a") is State.DEAD
    clock.advance(366 * 86400)
    registry.reap()
    assert registry.claim(limit=1, lease_ms=LEASE_MS).records == ()
    assert registry.revive(["/base/a", "/base/x"]) == {"/base/a": "revived", "/base/x": "absent"}
    (record,) = registry.claim(limit=1, lease_ms=LEASE_MS).records
    assert record.attempts == 0
    assert registry.stats().imbalance == 0


def test_a_dead_letter_that_is_registered_again_lives(registry: Registry, clock: FakeClock) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    registry.nack(claim.token, kept(claim, bury=True, reason="symlink"))
    registry.register([new(identity="other")])
    record = record_of(registry, "/base/a")
    assert (record.state, record.attempts, record.last_error) == (State.WAITING, 0, "")
    assert registry.audit() == []


def test_a_dead_letter_can_be_released_by_a_person(registry: Registry, clock: FakeClock) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    registry.nack(claim.token, kept(claim, bury=True, reason="symlink"))
    assert registry.unregister(["/base/a"]) == {"/base/a": "released"}
    assert registry.stats().imbalance == 0


def test_a_lease_that_ran_out_gives_its_files_back_and_counts_no_attempt(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new(f"/base/{i}") for i in range(5)])
    claim_all(registry, clock)
    assert registry.reap().recovered == 0
    clock.advance(LEASE_MS / 1000)
    reaped = registry.reap(limit=3)
    assert (reaped.recovered, reaped.more) == (3, True)
    reaped = registry.reap(limit=3)
    assert (reaped.recovered, reaped.more) == (2, False)
    stats = registry.stats()
    assert (stats.total("leases_expired"), stats.total("recovered"), stats.retrying, stats.claims) == (
        1,
        5,
        0,
        0,
    )


def test_a_reaped_file_returns_to_its_own_deadline(registry: Registry, clock: FakeClock) -> None:
    (done,) = registry.register([new(ttl_ms=900_000)])
    registry.claim_paths(["/base/a"], lease_ms=LEASE_MS, until_ms=clock.now_ms)
    clock.advance(LEASE_MS / 1000)
    registry.reap()
    assert record_of(registry, "/base/a").due_ms == done.deadline_ms


# -- looking


def test_stats_count_each_state(registry: Registry, clock: FakeClock) -> None:
    registry.register([new(f"/base/{i}", ttl_ms=1_000) for i in range(4)])
    registry.hold("/base/0", hold_ms=None)
    clock.advance(3)
    claim = registry.claim(limit=2, lease_ms=LEASE_MS)
    registry.nack(claim.token, kept(claim, bury=True, reason="x")[:1])
    stats = registry.stats()
    assert (stats.waiting, stats.leased, stats.held, stats.dead, stats.active) == (1, 1, 1, 1, 4)
    assert (stats.due, stats.overdue_seconds, stats.bytes) == (1, 2.0, 40)


def near(registry: Registry, fraction: float = 0.8, limit: int = 1000) -> list[str]:
    return [record.path for record in registry.near_expiry(fraction=fraction, limit=limit)]


def test_a_file_is_near_expiry_by_its_own_life_and_the_soonest_due_comes_first(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new(f"/base/{s}", ttl_ms=s * 1000) for s in (100_000, 90_000, 10)])
    clock.advance(80_000)
    registry.register([new("/base/short", ttl_ms=1000), replace(new("/base/aside", ttl_ms=1), flags="q")])
    assert near(registry) == ["/base/10", "/base/90000"]
    clock.advance(0.9)
    assert near(registry) == ["/base/10", "/base/short", "/base/90000", "/base/100000"]
    assert near(registry, limit=2) == ["/base/10", "/base/short"]
    assert near(registry, fraction=0) == ["/base/10", "/base/short", "/base/90000", "/base/100000"]
    assert near(registry, fraction=1) == ["/base/10"]
    registry.hold("/base/90000", hold_ms=None)
    assert near(registry) == ["/base/10", "/base/short", "/base/100000"]


def test_a_long_life_is_found_behind_any_number_of_short_ones(registry: Registry, clock: FakeClock) -> None:
    registry.register([new("/base/long", ttl_ms=10_000_000)])
    clock.advance(9_000)
    registry.register([new(f"/base/{n:04}", ttl_ms=600_000 + n // 1500) for n in range(3000)])
    assert near(registry) == ["/base/long"]
    clock.advance(599)
    assert near(registry, limit=2999) == [f"/base/{n:04}" for n in range(2999)]
    assert near(registry, limit=3001)[-1] == "/base/long"


def test_the_audit_names_a_path_in_two_places(registry: Registry, redis_client: redis.Redis) -> None:
    registry.register([new("/base/a"), new("/base/b")])
    redis_client.zadd(volume_key("tempfleet", registry.volume, "dead"), {"/base/a": 1})
    redis_client.zrem(volume_key("tempfleet", registry.volume, "registry"), "/base/b")
    assert sorted(registry.audit()) == ["/base/a", "/base/b"]


def test_two_volumes_never_see_each_others_files(store: Store, registry: Registry, clock: FakeClock) -> None:
    other = Registry(store, Volume("web-1", "/base2"))
    registry.register([new("/base/a")])
    assert len(other) == 0
    clock.advance(3600)
    assert other.claim(limit=10, lease_ms=LEASE_MS).records == ()
    assert other.unregister(["/base/a"]) == {"/base/a": "absent"}
    assert len(registry) == 1


def test_without_an_explicit_now_the_servers_clock_counts(redis_client: redis.Redis) -> None:
    registry = Registry(Store(redis_client), Volume("web-1", "/base"))
    seconds, micros = redis_client.time()
    (done,) = registry.register([new(ttl_ms=1)])
    assert 0 <= done.registered_ms - (seconds * 1000 + micros // 1000) < 60_000
    assert registry.claim(limit=1, lease_ms=LEASE_MS).token == 0 or registry.stats().leased == 1


# -- what is registered from afar (flag u)


def unseen(path: str = "/base/a", *, ttl_ms: int = MINUTE_MS) -> NewFile:
    return NewFile(path, ttl_ms, flags="u", tags=("afar",))


@pytest.mark.parametrize(("flags", "then"), [("", "u"), ("d", "du"), ("c", "c"), ("cd", "cd"), ("u", "u")])
def test_an_unseen_registration_replaces_nothing_of_what_is_known(
    registry: Registry, flags: str, then: str
) -> None:
    identity = "-" if set(flags) & {"c", "u"} else "i1"
    registered = NewFile("/base/a", 10_000, 7, identity, flags, 1000, ("mine",))
    (first,) = registry.register([registered])
    for ttl_ms in (1, 20_000):
        (done,) = registry.register([unseen(ttl_ms=ttl_ms)])
        assert done.code == "again"
    record = record_of(registry, "/base/a")
    assert (record.identity, set(record.flags)) == (identity, {*then, "s"})
    assert record.deadline_ms == first.registered_ms + 20_000 == record.due_ms
    assert (record.size_bytes, record.uid, record.tags) == (7, 1000, ("mine", "afar"))
    assert registry.stats().bytes == record.size_bytes


def test_an_unseen_registration_of_a_leased_file_changes_nothing(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    (done,) = registry.register([unseen()])
    assert (done.code, registry.stats().behind) == ("claimed", 0)
    assert registry.ack(claim.token, acked(claim)) == 1


# -- a claim that ran out


def test_a_claim_that_ran_out_is_not_extended_though_nobody_reaped_it_yet(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    clock.advance(LEASE_MS / 1000)
    with pytest.raises(LeaseLost):
        registry.extend(claim.token, lease_ms=LEASE_MS)
    assert registry.reap().recovered == 1


# -- damage


@pytest.mark.parametrize(
    "tail", [b"{}", b"[]", b"3", b'{"tags": 3}', b'{"tags": [3]}', b"[" * 100_000, b"\xff"]
)
def test_one_record_with_a_damaged_tail_stops_nobody_from_seeing_and_claiming_the_others(
    registry: Registry, clock: FakeClock, redis_client: redis.Redis, tail: bytes
) -> None:
    registry.register([new("/base/a"), new("/base/b")])
    key = volume_key("tempfleet", registry.volume, "records")
    header = redis_client.hget(key, "/base/a") or b""
    redis_client.hset(key, "/base/a", header + tail)
    assert record_of(registry, "/base/b").identity == "i1"
    assert record_of(registry, "/base/a").path == "/base/a"
    assert {record.path for record in claim_all(registry, clock).records} == {"/base/a", "/base/b"}


def test_a_held_file_with_a_damaged_record_is_due_at_once_when_it_is_lifted(
    registry: Registry, redis_client: redis.Redis
) -> None:
    registry.register([new()])
    registry.hold("/base/a", hold_ms=None)
    redis_client.hset(volume_key("tempfleet", registry.volume, "records"), "/base/a", "rubbish")
    assert registry.unhold("/base/a")
    assert registry.audit() == []
    assert [record.path for record in registry.claim(limit=1, lease_ms=LEASE_MS).records] == ["/base/a"]


# -- what only a seeded bug showed to be untested


def left_of(registry: Registry, redis_client: redis.Redis, path: str) -> list[str]:
    """The keys by path that still contain *path*."""
    keys = ("records", "retries", "errors", "next")
    return [
        name for name in keys if redis_client.hexists(volume_key("tempfleet", registry.volume, name), path)
    ]


def test_nothing_is_remembered_of_the_failures_of_a_file_that_went_in_the_end(
    registry: Registry, clock: FakeClock, redis_client: redis.Redis
) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    registry.nack(claim.token, kept(claim, delay_ms=1, reason="EACCES"))
    claim = claim_all(registry, clock)
    assert claim.records[0].attempts == 1
    registry.ack(claim.token, acked(claim))
    assert left_of(registry, redis_client, "/base/a") == []


@pytest.mark.parametrize("how", ["nack", "reap"])
def test_the_file_behind_a_failed_one_begins_without_its_failures(
    registry: Registry, clock: FakeClock, redis_client: redis.Redis, how: str
) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    registry.nack(claim.token, kept(claim, delay_ms=1, reason="EACCES"))
    claim = claim_all(registry, clock)
    registry.register([new(identity="i2")])
    if how == "nack":
        registry.nack(claim.token, kept(claim, reason="EACCES"))
    else:
        clock.advance(LEASE_MS / 1000)
        assert registry.reap().recovered == 1
    record = record_of(registry, "/base/a")
    assert (record.identity, record.attempts, record.last_error) == ("i2", 0, "")
    assert left_of(registry, redis_client, "/base/a") == ["records"]


def test_a_file_kept_without_a_reason_has_no_error_and_no_counter(
    registry: Registry, clock: FakeClock, redis_client: redis.Redis
) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    registry.nack(claim.token, kept(claim, counts=False))
    assert left_of(registry, redis_client, "/base/a") == ["records"]
    assert not any(name.startswith("kept:") for name in registry.stats().totals)


def test_a_claim_may_be_as_large_as_a_batch_can_be(registry: Registry, clock: FakeClock) -> None:
    registry.register([new(f"/base/{n}") for n in range(1000)])
    claim = claim_all(registry, clock)
    assert (len(claim.records), registry.stats().leased) == (1000, 1000)
    assert registry.ack(claim.token, acked(claim)) == 1000
    assert registry.audit() == []


def test_one_reap_takes_back_no_more_than_it_was_told_to_whatever_the_claims(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new(f"/base/{n}") for n in range(6)])
    clock.advance(3600)
    for _ in range(2):
        assert len(registry.claim(limit=3, lease_ms=LEASE_MS).records) == 3
    clock.advance(LEASE_MS / 1000)
    reaped = [registry.reap(limit=4), registry.reap(limit=4)]
    assert [(reap.recovered, reap.more) for reap in reaped] == [(4, True), (2, False)]
    assert registry.stats().claims == 0


def test_a_reap_that_lifted_as_many_holds_as_it_may_says_that_there_are_more(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new(f"/base/{n}") for n in range(3)])
    for n in range(3):
        registry.hold(f"/base/{n}", hold_ms=1)
    clock.advance(1)
    reaped = [registry.reap(limit=2), registry.reap(limit=2)]
    assert [(reap.unheld, reap.more) for reap in reaped] == [(2, True), (1, False)]


def test_an_age_beyond_the_beginning_of_time_is_the_beginning_of_time(
    registry: Registry, clock: FakeClock
) -> None:
    (done,) = registry.register([NewFile("/base/a", 1, identity="i1", age_ms=10**15)])
    assert (done.registered_ms, done.deadline_ms) == (0, 1)
    assert record_of(registry, "/base/a").registered_ms == 0


def test_a_clock_that_stepped_back_counts_no_negative_age_or_lag(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([new(ttl_ms=1)])
    clock.advance(1)
    claim = registry.claim(limit=1, lease_ms=LEASE_MS)
    clock.advance(-7200)
    registry.ack(claim.token, acked(claim))
    for name in ("age", "lag"):
        assert registry.stats().histogram(name).sum_seconds == 0


def test_renewing_a_file_brings_its_next_try_no_nearer(registry: Registry, clock: FakeClock) -> None:
    registry.register([new()])
    claim = claim_all(registry, clock)
    registry.nack(claim.token, kept(claim, delay_ms=3_600_000, reason="EACCES"))
    before = record_of(registry, "/base/a").due_ms
    registry.renew("/base/a", ttl_ms=1000)
    assert record_of(registry, "/base/a").due_ms == before


def test_a_note_on_a_plug_in_holds_for_its_time_and_then_makes_room(
    registry: Registry, clock: FakeClock
) -> None:
    registry.record_plugin("old.load", failures=2, reason="gone since", hold_ms=1000)
    registry.record_plugin("guard.before_delete", failures=1, reason="no database", hold_ms=5000)
    assert [(note.plugin, note.hook, note.said) for note in registry.stats().plugins_off] == [
        ("guard", "before_delete", "no database"),
        ("old", "load", "gone since"),
    ]
    clock.advance(1)
    assert [note.plugin for note in registry.stats().plugins_off] == ["guard"]
    registry.record_plugin("guard.before_delete", failures=0, reason="", hold_ms=5000)
    assert registry.stats().plugins_off == []
    assert [name for name in registry.stats().meta if name.startswith("plugin:")] == []
    assert registry.stats().totals_of("plugin_failed") == {"old.load": 2, "guard.before_delete": 1}


# -- another form


def test_while_a_file_changes_its_form_either_object_is_the_registered_one(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([NewFile("/base/a", MINUTE_MS, size_bytes=100, identity="i1", flags="p", tags=("t",))])
    before = record_of(registry, "/base/a")
    assert registry.amend("/base/a", expected="i1", identity="i1+i2", marks="z")
    clock.advance(1)
    for either in ("i1", "i2"):
        (done,) = registry.register([new(identity=either, size=100)])
        assert (done.code, record_of(registry, "/base/a").identity) == ("again", "i1+i2")
    assert registry.unregister(["/base/a"]) == {"/base/a": "compressed"}
    assert registry.amend(
        "/base/a",
        expected="i1+i2",
        identity="i2",
        marks="z",
        size_bytes=9,
        total="compressed",
        saved_bytes=80,
    )
    record, stats = record_of(registry, "/base/a"), registry.stats()
    assert (record.identity, record.flags, record.size_bytes, stats.bytes) == ("i2", "sz", 9, 9)
    assert (record.registered_ms, record.state) == (before.registered_ms + 1000, State.WAITING)
    assert (stats.total("compressed"), stats.total("compression_saved_bytes")) == (1, 80)
    assert registry.amend("/base/a", expected="i2", identity="i2", marks="")
    assert registry.unregister(["/base/a"]) == {"/base/a": "released"}
    assert registry.stats().bytes == registry.stats().imbalance == 0


def test_the_totals_of_a_tag_follow_the_size(registry: Registry, clock: FakeClock) -> None:
    registry.register([NewFile("/base/a", MINUTE_MS, size_bytes=100, identity="i1", tags=("t", "u"))])
    assert registry.amend("/base/a", expected="i1", identity="i1", marks="z", size_bytes=30)
    assert {total.bytes for total in registry.tag_totals().values()} == {30}
    claim = claim_all(registry, clock)
    registry.ack(claim.token, acked(claim))
    assert registry.tag_totals() == {}


def test_a_record_that_is_not_as_it_was_read_is_not_amended(registry: Registry, clock: FakeClock) -> None:
    registry.register([new(identity="i1")])
    for path, expected in (("/base/a", "i2"), ("/base/b", "i1")):
        assert not registry.amend(path, expected=expected, identity="i3", marks="z", total="compressed")
    claim = claim_all(registry, clock)
    assert not registry.amend("/base/a", expected="i1", identity="i1+i2", marks="z")
    assert record_of(registry, "/base/a").identity == "i1"
    assert registry.stats().total("compressed") == 0
    registry.ack(claim.token, acked(claim))


def test_a_claimer_that_knows_both_objects_is_in_nobodys_way(registry: Registry, clock: FakeClock) -> None:
    registry.register([new(identity="i1")])
    assert registry.amend("/base/a", expected="i1", identity="i1+i2", marks="z")
    claim = claim_all(registry, clock)
    assert registry.amend("/base/a", expected="i1+i2", identity="i2", marks="z", size_bytes=3)
    assert registry.ack(claim.token, acked(claim)) == 1
    assert registry.stats().bytes == 0


def test_what_is_in_quarantine_is_not_amended(registry: Registry, clock: FakeClock) -> None:
    registry.register([new(identity="i1")])
    claim = claim_all(registry, clock)
    registry.quarantine(claim.token, [("/base/a", NewFile("/base/q", 1000, identity="i1", flags="zq"))])
    assert not registry.amend("/base/q", expected="i1", identity="i2", marks="")
    assert registry.unregister(["/base/q"]) == {"/base/q": "released"}
