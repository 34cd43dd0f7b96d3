"""Several registrants of one file, in the registry: one record, and the later promise wins."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from tempfleet import AlreadyClaimed, State, TooManyTags
from tempfleet.records import FileRecord, NewFile
from tempfleet.registry.registry import Registry
from tempfleet.registry.values import Nack
from tempfleet.testing import FakeClock

DAY_MS = 86_400_000
PATH = "/base/a"

VIEWS = ["ga1.b2.c3d4", "ba1.b2", "ha1.c3d4", "wa1.5.6.7", "wa1.8.9.a"]
"""What processes see of one object: all, no file handle, no birth time, neither; and neither after a write."""


def file(identity: str, *, ttl_ms: int = DAY_MS, flags: str = "", size: int = 10) -> NewFile:
    return NewFile(PATH, ttl_ms, size_bytes=size, identity=identity, flags=flags)


def record_of(registry: Registry) -> FileRecord:
    record = registry.read([PATH])[1][0]
    assert record is not None
    return record


def claim(registry: Registry, clock: FakeClock) -> int:
    return registry.claim_paths([PATH], lease_ms=5000, until_ms=clock.now_ms).token


# -- the same object, seen with other eyes


@pytest.mark.parametrize(("first", "second"), list(product(VIEWS, VIEWS)))
def test_the_later_deadline_wins_however_much_each_process_sees_of_the_file(
    registry: Registry, clock: FakeClock, first: str, second: str
) -> None:
    registry.register([file(first)])
    (done,) = registry.register([file(second, ttl_ms=1000)])
    assert (done.code, done.deadline_ms) == ("again", clock.now_ms + DAY_MS)
    record = record_of(registry)
    assert (record.deadline_ms, record.due_ms) == (done.deadline_ms, done.deadline_ms)
    assert registry.stats().imbalance == 0


@pytest.mark.parametrize(("first", "second"), list(product(VIEWS, VIEWS)))
def test_a_file_that_is_being_deleted_is_recognised_however_much_is_seen_of_it(
    registry: Registry, clock: FakeClock, first: str, second: str
) -> None:
    registry.register([file(first)])
    claim(registry, clock)
    (done,) = registry.register([file(second)])
    assert (done.code, registry.stats().behind) == ("claimed", 0)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("ga1.b2.c3d4", "ba1.b2", "ga1.b2.c3d4"),
        ("ba1.b2", "ga1.b2.c3d4", "ga1.b2.c3d4"),
        ("wa1.5.6.7", "ha1.c3d4", "ha1.c3d4"),
        ("ba1.b2", "wa1.5.6.7", "ba1.b2"),
        # of two weak ones the newer: the older matches nothing any more
        ("wa1.5.6.7", "wa1.8.9.a", "wa1.8.9.a"),
    ],
)
def test_the_record_keeps_the_identity_that_tells_more(
    registry: Registry, first: str, second: str, kept: str
) -> None:
    registry.register([file(first)])
    registry.register([file(second)])
    assert record_of(registry).identity == kept


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ga1.b2.c3d4", "ga2.b2.c3d4"),
        ("ga1.b2.c3d4", "ga1.b9.c3d4"),
        ("ga1.b2.c3d4", "ga1.b2.c3d5"),
        ("ga1.b2.c3d4", "ba1.b9"),
        ("ga1.b2.c3d4", "ha1.c3d5"),
        ("ga1.b2.c3d4", "wa2.5.6.7"),
        ("ba1.b2", "ba1.b9"),
        ("ba1.b2", "ha2.c3d4"),
        ("ha1.c3d4", "ha1.c3d5"),
        ("wa1.5.6.7", "wa2.5.6.7"),
        # damaged
        ("?", "ga1.b2.c3d4"),
        ("x", "wa1.5.6.7"),
    ],
)
def test_another_object_differs_in_a_fact_that_both_processes_see(
    registry: Registry, clock: FakeClock, first: str, second: str
) -> None:
    registry.register([file(first)])
    (done,) = registry.register([file(second, ttl_ms=1000)])
    assert (done.code, done.deadline_ms) == ("swapped", clock.now_ms + 1000)


def test_a_file_that_changes_its_form_is_recognised_by_either_object(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([file("ga1.b2.c3d4", flags="p")])
    both = "ga1.b2.c3d4+ga5.b6.c7d8"
    assert registry.amend(PATH, expected="ga1.b2.c3d4", identity=both, marks="z")
    for identity in ("ba1.b2", "ba5.b6", "wa5.1.2.3"):
        (done,) = registry.register([file(identity, ttl_ms=1000)])
        assert (done.code, done.deadline_ms) == ("again", clock.now_ms + DAY_MS)
        assert record_of(registry).identity == both


# -- a record whose name is its identity


@pytest.mark.parametrize(("created", "flags"), [("c", ""), ("cd", "d")])
def test_a_created_file_that_is_registered_keeps_its_record_and_its_later_deadline(
    registry: Registry, clock: FakeClock, created: str, flags: str
) -> None:
    registry.register([file("-", ttl_ms=7 * DAY_MS, flags=created, size=0)])
    (done,) = registry.register([file("ga1.b2.c3d4", ttl_ms=1000, flags=flags)])
    record = record_of(registry)
    assert (done.code, record.deadline_ms) == ("again", clock.now_ms + 7 * DAY_MS)
    assert (record.identity, record.flags, record.size_bytes) == ("-", created + "s", 10)
    (done,) = registry.register([file("ga1.b2.c3d4", ttl_ms=9 * DAY_MS, flags=flags)])
    assert record_of(registry).due_ms == clock.now_ms + 9 * DAY_MS


def test_a_created_file_that_is_being_deleted_cannot_be_registered(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([file("-", flags="c")])
    token = claim(registry, clock)
    (done,) = registry.register([file("ga1.b2.c3d4")])
    assert (done.code, registry.stats().behind) == ("claimed", 0)
    assert record_of(registry).state is State.LEASED
    assert token


def test_a_directory_in_the_place_of_a_created_file_is_another_one(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([file("-", flags="c")])
    clock.advance(1)
    (done,) = registry.register([file("ga1.b2.c3d4", flags="d")])
    record = record_of(registry)
    assert (done.code, record.identity, record.flags) == ("swapped", "ga1.b2.c3d4", "d")


def test_what_another_host_promised_for_a_file_that_it_could_not_see_is_kept(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([NewFile(PATH, DAY_MS, flags="u")])
    (done,) = registry.register([file("ga1.b2.c3d4", ttl_ms=1000)])
    record = record_of(registry)
    assert (done.code, record.deadline_ms) == ("again", clock.now_ms + DAY_MS)
    assert (record.identity, record.flags, record.size_bytes) == ("ga1.b2.c3d4", "s", 10)


# -- tags


def tagged(*tags: str, identity: str = "ga1.b2.c3d4") -> NewFile:
    return NewFile(PATH, DAY_MS, size_bytes=10, identity=identity, tags=tags)


def numbered(count: int, start: int = 0) -> tuple[str, ...]:
    return tuple(f"tag {n}" for n in range(start, start + count))


def test_a_file_has_the_tags_of_all_its_registrations(registry: Registry) -> None:
    for tags in [("a,", "b"), (), ("b", 'c"'), ("b",)]:
        (done,) = registry.register([tagged(*tags)])
        assert done.record.tags == record_of(registry).tags
    assert record_of(registry).tags == ("a,", "b", 'c"')
    registry.register([tagged("x", identity="ga2.b2.c3d4")])
    assert record_of(registry).tags == ("x",), "another file"
    assert set(registry.tag_totals()) == {"x"}


def test_a_file_waiting_behind_a_claim_has_the_tags_of_all_its_registrations(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([tagged("old")])
    token = claim(registry, clock)
    for tags in [("a",), ("b", "a")]:
        registry.register([tagged(*tags, identity="ga2.b2.c3d4")])
    assert {tag: total.files for tag, total in registry.tag_totals().items()} == {"old": 1, "a": 1, "b": 1}
    registry.nack(token, [Nack(PATH)])
    assert record_of(registry).tags == ("a", "b")
    assert {tag: total.files for tag, total in registry.tag_totals().items()} == {"a": 1, "b": 1}


def test_more_than_32_tags_are_refused_and_nothing_changes(registry: Registry, clock: FakeClock) -> None:
    registry.register([tagged(*numbered(20))])
    before = (record_of(registry), registry.tag_totals(), registry.stats().totals)
    clock.advance(1)
    (done,) = registry.register([tagged(*numbered(13, start=20))])
    assert (done.code, done.is_accepted) == ("tags", False)
    with pytest.raises(TooManyTags, match="at most 32 tags"):
        done.check()
    assert (record_of(registry), registry.tag_totals(), registry.stats().totals) == before
    (done,) = registry.register([tagged(*numbered(20, start=12))])
    assert (done.code, len(done.record.tags)) == ("again", 32)


# -- whose file it is


def is_shared(registry: Registry) -> bool:
    return "s" in record_of(registry).flags


def own_claim(registry: Registry, registered_ms: int) -> tuple[FileRecord, ...]:
    return registry.claim_own({PATH: registered_ms}, lease_ms=5000).records


Promise = Callable[[Registry, int | None], object]

PROMISES: dict[str, Promise] = {
    "registers": lambda registry, ms: registry.register(
        [file("ga1.b2.c3d4")], own={} if ms is None else {PATH: ms}
    ),
    "registers unseen": lambda registry, ms: registry.register(
        [NewFile(PATH, 1000, flags="u")], own={} if ms is None else {PATH: ms}
    ),
    "renews": lambda registry, ms: registry.renew(PATH, ttl_ms=1000, own_ms=ms),
    "holds": lambda registry, ms: registry.hold(PATH, hold_ms=None, own_ms=ms),
}


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES)
@pytest.mark.parametrize("flags", ["", "p"])
def test_the_end_of_a_block_takes_nothing_that_another_registrant_promised(
    registry: Registry, clock: FakeClock, promise: Promise, flags: str
) -> None:
    (done,) = registry.register([file("ga1.b2.c3d4", flags=flags)])
    clock.advance(1)
    promise(registry, None)
    registry.unhold(PATH)
    assert is_shared(registry)
    for registered_ms in (done.registered_ms, record_of(registry).registered_ms):
        assert own_claim(registry, registered_ms) == ()
    assert record_of(registry).state is State.WAITING
    assert registry.audit() == []


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES)
def test_a_registrants_own_promises_do_not_make_its_file_shared(
    registry: Registry, clock: FakeClock, promise: Promise
) -> None:
    (done,) = registry.register([file("ga1.b2.c3d4")])
    clock.advance(1)
    promise(registry, done.registered_ms)
    registry.unhold(PATH)
    assert not is_shared(registry)
    (record,) = own_claim(registry, record_of(registry).registered_ms)
    assert record.path == PATH


def share(registry: Registry, clock: FakeClock) -> int:
    """Two registrants register the file; returns ``registered_ms`` of the second one."""
    registry.register([file("ga1.b2.c3d4")])
    clock.advance(1)
    (done,) = registry.register([file("ga1.b2.c3d4")])
    clock.advance(1)
    (done,) = registry.register([file("ga1.b2.c3d4")], own={PATH: done.registered_ms})
    return done.registered_ms


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("anew", ["by the same registrant", "by another one"])
def test_a_shared_file_stays_shared_if_it_is_unregistered_and_registered_anew(
    registry: Registry, clock: FakeClock, view: str, anew: str
) -> None:
    registered_ms = share(registry, clock)
    own = {PATH: registered_ms} if anew == "by the same registrant" else {}
    assert own_claim(registry, registered_ms) == ()
    registry.unregister([PATH], own=own)
    (done,) = registry.register([file(view, ttl_ms=1000)], own=own)
    assert done.code == "new"
    assert own_claim(registry, done.registered_ms) == ()
    # the trace has done its work: what is unregistered by its only registrant leaves none
    assert registry.former([PATH]) == [None]


def test_who_unregisters_the_file_of_another_one_does_not_own_it_then(
    registry: Registry, clock: FakeClock
) -> None:
    (first,) = registry.register([file("ga1.b2.c3d4")])
    registry.unregister([PATH])
    clock.advance(1)
    (second,) = registry.register([file("ga1.b2.c3d4")])
    assert own_claim(registry, second.registered_ms) == ()
    registry.unregister([PATH], own={PATH: second.registered_ms})
    (again,) = registry.register([file("ga1.b2.c3d4")], own={PATH: first.registered_ms})
    assert own_claim(registry, again.registered_ms) == ()


def test_what_its_only_registrant_unregisters_leaves_no_trace(registry: Registry, clock: FakeClock) -> None:
    (done,) = registry.register([file("ga1.b2.c3d4")])
    registry.unregister([PATH], own={PATH: done.registered_ms})
    assert registry.former([PATH]) == [None]
    clock.advance(1)
    (done,) = registry.register([file("ga1.b2.c3d4")])
    assert len(own_claim(registry, done.registered_ms)) == 1


def test_the_registrant_whose_file_a_person_unregistered_owns_it_again(
    registry: Registry, clock: FakeClock
) -> None:
    (done,) = registry.register([file("ga1.b2.c3d4")])
    registry.unregister([PATH])
    clock.advance(1)
    (done,) = registry.register([file("ga1.b2.c3d4")], own={PATH: done.registered_ms})
    assert len(own_claim(registry, done.registered_ms)) == 1


def test_another_file_under_an_unregistered_name_is_not_shared(registry: Registry, clock: FakeClock) -> None:
    share(registry, clock)
    registry.unregister([PATH])
    (done,) = registry.register([file("ga2.b3.c4d5")])
    assert len(own_claim(registry, done.registered_ms)) == 1


def test_a_trace_ends_with_the_deadline_that_was_promised(registry: Registry, clock: FakeClock) -> None:
    share(registry, clock)
    registry.unregister([PATH])
    clock.advance(DAY_MS / 1000)
    (done,) = registry.register([file("ga1.b2.c3d4")])
    assert len(own_claim(registry, done.registered_ms)) == 1


def test_the_traces_of_unregistered_files_are_bounded(registry: Registry, clock: FakeClock) -> None:
    paths = [f"/base/{n:05}" for n in range(10_020)]
    registry.register([NewFile(path, 60_000 + n, identity="ga1.b2.c3d4") for n, path in enumerate(paths)])
    registry.unregister(paths)
    size = registry.store.client.zcard(registry.keys["unregistered"])
    assert (size, registry.store.client.hlen(registry.keys["former"])) == (10_000, 10_000)
    assert registry.former(paths[:20]) == [None] * 20, "those that end first"
    clock.advance(3600)
    registry.register([file("ga1.b2.c3d4")])
    registry.unregister([PATH])
    assert registry.store.client.zcard(registry.keys["unregistered"]) < 10_000


def test_a_file_that_a_dead_process_may_have_moved_leaves_a_trace_without_an_end(
    registry: Registry, clock: FakeClock
) -> None:
    (done,) = registry.register([file("ga1.b2.c3d4")])
    claim(registry, clock)
    clock.advance(10)
    assert registry.reap().recovered == 1
    own = {PATH: done.registered_ms}
    registry.unregister([PATH], own=own)
    (before,) = registry.former([PATH])
    assert before is not None and before.identity == "ga1.b2.c3d4"
    # neither a record of another file, nor one of a file that its registrant cannot see, ends it
    for other in (file("ga2.b3.c4d5"), NewFile(PATH, 1000, flags="u")):
        registry.register([other])
        registry.unregister([PATH])
    clock.advance(DAY_MS / 1000)
    assert registry.former([PATH]) == [before]
    registry.forget_former(before)
    assert registry.former([PATH]) == [None]


@pytest.mark.parametrize("seconds", [0, 1], ids=["in the same millisecond", "later"])
def test_another_file_under_the_name_belongs_to_its_own_registrant(
    registry: Registry, clock: FakeClock, seconds: float
) -> None:
    (first,) = registry.register([file("ga1.b2.c3d4")])
    clock.advance(seconds)
    (second,) = registry.register([file("ga2.b3.c4d5")])
    assert second.code == "swapped"
    assert own_claim(registry, first.registered_ms) == ()
    # two registrations in one millisecond cannot be told apart: then nobody's block takes the file
    assert len(own_claim(registry, second.registered_ms)) == (1 if seconds else 0)


def test_a_created_file_whose_registration_was_repeated_is_not_shared(
    registry: Registry, clock: FakeClock
) -> None:
    # The first reply was lost with its connection, so the caller has no time to show.
    registry.register([file("-", flags="c", size=0)])
    clock.advance(1)
    (done,) = registry.register([file("-", flags="c", size=0)])
    assert (done.code, is_shared(registry)) == ("again", False)
    assert len(own_claim(registry, done.registered_ms)) == 1


def test_a_damaged_record_is_nobodys_own(registry: Registry) -> None:
    registry.register([file("ga1.b2.c3d4")])
    registry.store.client.hset(registry.keys["records"], PATH, "damaged")
    assert own_claim(registry, 0) == ()


def test_files_that_wait_behind_a_claim_are_shared_too(registry: Registry, clock: FakeClock) -> None:
    registry.register([file("ga1.b2.c3d4")])
    token = claim(registry, clock)
    (first,) = registry.register([file("ga2.b3.c4d5")])
    clock.advance(1)
    (second,) = registry.register([file("ga2.b3.c4d5")])
    registry.nack(token, [Nack(PATH)])
    assert is_shared(registry)
    for done in (first, second):
        assert own_claim(registry, done.registered_ms) == ()


# -- behind a claim


def test_the_later_deadline_wins_also_while_the_file_waits_behind_a_claim(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([file("ga1.b2.c3d4")])
    token = claim(registry, clock)
    (first,) = registry.register([file("ga2.b3.c4d5", ttl_ms=DAY_MS)])
    (second,) = registry.register([file("ba2.b3", ttl_ms=1000)])
    assert (first.code, second.code) == ("behind", "behind")
    (record,) = registry.read([PATH])[1]
    assert record is not None and record.identity == "ga1.b2.c3d4"
    registry.ack(token, [])
    clock.advance(5)
    assert registry.reap().recovered == 1
    record = record_of(registry)
    assert (record.identity, record.deadline_ms) == ("ga2.b3.c4d5", first.deadline_ms)
    assert (registry.stats().imbalance, registry.stats().bytes, registry.audit()) == (0, 10, [])


def test_another_file_behind_a_claim_takes_the_place_of_the_one_that_waited(
    registry: Registry, clock: FakeClock
) -> None:
    registry.register([file("ga1.b2.c3d4")])
    claim(registry, clock)
    registry.register([file("ga2.b3.c4d5", ttl_ms=DAY_MS)])
    (done,) = registry.register([file("ga7.b8.c9da", ttl_ms=1000)])
    assert (done.code, done.deadline_ms) == ("behind", clock.now_ms + 1000)


def test_a_file_behind_a_claim_cannot_be_renewed_yet(registry: Registry, clock: FakeClock) -> None:
    registry.register([file("ga1.b2.c3d4")])
    claim(registry, clock)
    registry.register([file("ga2.b3.c4d5")])
    with pytest.raises(AlreadyClaimed):
        registry.renew(PATH, ttl_ms=DAY_MS)
