"""
Random walks through the life of files, compared with a plain dictionary. Every invariant is checked after every step.

A walk also moves the clock exactly onto deadlines, because there "<" and "<=" differ.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import fakeredis
import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from model.model import Model
from tempfleet import AlreadyClaimed, Deletion, LeaseLost, NotRegistered, Outcome, RegistryError, Volume
from tempfleet.cleanup.nested import NestedPromises
from tempfleet.records import FileRecord, Keeper, NewFile, Rewrite
from tempfleet.registry.clock import FleetClock
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.keys import VOLUME_KEYS, volume_key
from tempfleet.registry.registry import Registry
from tempfleet.registry.store import Store
from tempfleet.registry.values import UNKNOWN, Horizon, Nack, TagTotal
from tempfleet.testing import FakeClock

PATHS = st.sampled_from(["/b/a", "/b/b", "/b/c\n\udcff", "/b/d"])
IDENTITIES = st.sampled_from(["i1", "i2"])
FORMS = st.sampled_from(["i1", "i2", "i1+i2", "i2+i1"])
KEEPERS = st.sampled_from(["anna@sh", "bob@x\udcff", "zoe"])
TTLS = st.sampled_from([1, 999, 1000, 5000])
OWN = st.sampled_from(["first", "second"])
LEASE = 2000


class Walk(RuleBasedStateMachine):
    connect: Callable[[], redis.Redis]

    def __init__(self) -> None:
        super().__init__()
        client = type(self).connect()
        client.flushall()
        self.clock = FakeClock()
        self.registry = Registry(Store(client, clock=self.clock), Volume("h", "/b"))
        self.model = Model(now=self.clock.now_ms)
        self.tokens: list[int] = []
        self.claimed: dict[int, tuple[FileRecord, ...]] = {}
        # What processes saw of the registry: how much Redis had lost by then, and the last token and the epoch.
        self.seen: list[tuple[int, Horizon]] = []
        # registrant -> path -> registered_ms that it got
        self.own: dict[str, dict[str, int]] = {"first": {}, "second": {}}

    @rule(
        path=PATHS,
        ttl=TTLS,
        identity=IDENTITIES,
        size=st.sampled_from([0, 7]),
        tag=st.booleans(),
        own=OWN,
    )
    def register(self, path: str, ttl: int, identity: str, size: int, tag: bool, own: str) -> None:
        tags = ("a tag",) if tag else ()
        file = NewFile(path, ttl, size_bytes=size, identity=identity, tags=tags)
        (result,) = self.registry.register([file], own=self.own[own])
        registered = self.own[own].get(path)
        assert result.code == self.model.register(path, ttl, identity, size, tag=tag, own=registered)
        if result.is_accepted:
            assert result.registered_ms == self.model.now
            self.own[own][path] = result.registered_ms

    @rule(files=st.lists(st.tuples(PATHS, TTLS, IDENTITIES), max_size=4))
    def register_many(self, files: list[tuple[str, int, str]]) -> None:
        results = self.registry.register(
            [NewFile(path, ttl, size_bytes=3, identity=i) for path, ttl, i in files]
        )
        assert [result.code for result in results] == [
            self.model.register(path, ttl, i, 3) for path, ttl, i in files
        ]

    @rule(path=PATHS, ttl=TTLS, own=OWN)
    def renew(self, path: str, ttl: int, own: str) -> None:
        own_ms = self.own[own].get(path)
        code = self.model.renew(path, ttl, own_ms)
        self._agree(lambda: self.registry.renew(path, ttl_ms=ttl, own_ms=own_ms), code)

    @rule(
        path=PATHS,
        ms=st.sampled_from([None, 1000, 3000]),
        reason=st.sampled_from(["", "ticket 1\n\udcff", "ticket 2"]),
        name=KEEPERS,
        instead=st.just("") | KEEPERS,
        own=OWN,
    )
    def hold(self, path: str, ms: int | None, reason: str, name: str, instead: str, own: str) -> None:
        own_ms = self.own[own].get(path)
        move = partial(self.registry.hold, path, hold_ms=ms, reason=reason, name=name, instead=instead)
        end = self._agree(
            lambda: move(own_ms=own_ms), self.model.hold(path, ms, reason, name, instead, own_ms)
        )
        if path in self.model.held():
            assert end == self.model.files[path].keepers[name][0]

    @precondition(lambda self: self.model.files)
    @rule(data=st.data(), due_now=st.booleans())
    def unhold(self, data: st.DataObject, due_now: bool) -> None:
        path, name = data.draw(self._a_keeper())
        code = self.model.unhold(path, name, due_now=due_now)
        existed = self._agree(lambda: self.registry.unhold(path, name=name, due_now=due_now), code)
        assert existed == {"dropped": True, "unkept": False}.get(code)

    @precondition(lambda self: self.model.files)
    @rule(data=st.data(), ms=st.sampled_from([1, 1000, 5000]))
    def extend_keeper(self, data: st.DataObject, ms: int) -> None:
        path, name = data.draw(self._a_keeper())
        missing = self.registry.extend_keepers([path], name=name, keep_ms=ms)
        assert (missing == []) == self.model.extend_keeper(path, name, ms)

    @precondition(lambda self: self.model.files)
    @rule(data=st.data(), own=OWN)
    def unregister(self, data: st.DataObject, own: str) -> None:
        path = data.draw(PATHS | st.sampled_from(sorted(self.model.files)))
        files = self.own[own]
        codes = self.registry.unregister([path], own=files)
        assert codes == {path: self.model.unregister(path, files.get(path))}

    @precondition(lambda self: self.model.files)
    @rule(
        data=st.data(),
        everything=st.booleans(),
        back=st.sampled_from([-1, 0, 1000]),
        stale=st.integers(0, 5).map(lambda n: n == 0),
    )
    def forget(self, data: st.DataObject, everything: bool, back: int, stale: bool) -> None:
        """One step of forgetting the host; *stale*: the host came back since the forgetting began."""
        some = PATHS | st.sampled_from(sorted(self.model.files))
        paths = data.draw(st.lists(some, min_size=1, max_size=3, unique=True))
        until = self.model.now - back
        args = {"token": self.model.last_token - stale, "until_ms": until, "all_kept": int(everything)}
        codes = self.registry._run("forget", more=[os.fsencode(path) for path in paths], **args)
        if stale:
            assert codes == 0
            return
        assert [code.decode() for code in codes] == [
            self.model.forget(path, until, everything=everything) for path in paths
        ]

    @rule()
    def erase(self) -> None:
        """The last step of forgetting. A process that goes on as if nothing had happened sees a loss."""
        erased = self.registry._run("erase", token=self.model.last_token)
        assert erased == (not self.model.files)
        if erased:
            store = self.registry.store
            keys = [volume_key(store.namespace, self.registry.volume, name) for name in VOLUME_KEYS]
            assert store.client.exists(*keys) == 0
            self.model.lose_everything()
            self._move_to(self.model.now + 1)

    @rule(
        path=PATHS,
        expected=FORMS,
        identity=FORMS,
        marks=st.sampled_from(["", "z", "i"]),
        size=st.sampled_from([None, 0, 11]),
    )
    def amend(self, path: str, expected: str, identity: str, marks: str, size: int | None) -> None:
        move = partial(self.registry.amend, path, expected=expected, identity=identity, marks=marks)
        assert move(size_bytes=size) == self.model.amend(path, expected, identity, marks, size)

    @rule(path=PATHS, marks=st.sampled_from(["", "z"]), size=st.sampled_from([None, 5]))
    def exchange(self, path: str, marks: str, size: int | None) -> None:
        """Changes the form completely. ``amend`` takes single steps, so that other moves come between them."""
        entry = self.model.files.get(path)
        if entry is None or "+" in entry.identity:
            return
        old, new = entry.identity, "i2" if entry.identity == "i1" else "i1"
        self.amend(path, old, f"{old}+{new}", "z", None)
        self.amend(path, f"{old}+{new}", new, marks, size)

    @precondition(lambda self: any(self.own.values()))
    @rule(own=OWN)
    def end_block(self, own: str) -> None:
        files, self.own[own] = self.own[own], {}
        expected = self.model.own(files)
        claim = self.registry.claim_own(files, lease_ms=LEASE)
        assert [record.path for record in claim.records] == expected
        self._took(claim)

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        claim = self.registry.claim(limit=limit, lease_ms=LEASE)
        due = self.model.claimable()
        assert [record.path for record in claim.records] == due[:limit]
        assert claim.left == max(len(due) - limit, 0)
        self._took(claim)

    @precondition(lambda self: self.model.waiting())
    @rule(data=st.data(), limit=st.integers(1, 4))
    def claim_at_a_deadline(self, data: st.DataObject, limit: int) -> None:
        due = self.model.files[data.draw(st.sampled_from(self.model.waiting()))].due
        self._move_to(max(due or 0, self.model.now))
        self.claim(limit)

    @rule(everything=st.booleans())
    def redis_loses_its_data(self, everything: bool) -> None:
        """All keys, or those of the volume: the part of a cluster that has them. Claims that were made go on."""
        self._look()
        store = self.registry.store
        if everything:
            store.client.flushall()
        else:
            store.client.delete(
                *(volume_key(store.namespace, self.registry.volume, name) for name in VOLUME_KEYS)
            )
        self.model.lose_everything()
        # A token is its time in microseconds or more, and no server is back within one.
        self._move_to(self.model.now + 1)
        losses, seen = self.seen[-1]
        for known in (Horizon(last_token=seen.last_token), Horizon(epoch=seen.epoch), seen):
            self._claim_knowing(losses, known, 1, named=False)

    @precondition(lambda self: self.seen)
    @rule(
        data=st.data(), limit=st.integers(1, 4), token=st.booleans(), epoch=st.booleans(), named=st.booleans()
    )
    def claim_with_a_memory(
        self, data: st.DataObject, limit: int, token: bool, epoch: bool, named: bool
    ) -> None:
        """A process that saw more than Redis has now claims nothing; one that saw nothing does."""
        self._look()
        losses, seen = data.draw(st.sampled_from(self.seen))
        known = Horizon(last_token=seen.last_token if token else 0, epoch=seen.epoch if epoch else "")
        self._claim_knowing(losses, known, limit, named=named)

    @precondition(lambda self: self.model.files)
    @rule(data=st.data(), back=st.sampled_from([0, 1, 5000]), outright=st.booleans())
    def claim_paths(self, data: st.DataObject, back: int, outright: bool) -> None:
        some = PATHS | st.sampled_from(sorted(self.model.files))
        paths = data.draw(st.lists(some, min_size=1, max_size=3, unique=True))
        until = self.model.now - back
        files = self.model.files
        expected = [
            p
            for p in paths
            if p in files
            and files[p].state == "waiting"
            and files[p].registered <= until
            and (outright or not files[p].is_quarantined or files[p].deadline <= self.model.now)
        ]
        claim = self.registry.claim_paths(paths, lease_ms=LEASE, until_ms=until, quarantined=outright)
        assert [record.path for record in claim.records] == expected
        self._took(claim)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        token = data.draw(self._a_token())
        some = st.sampled_from(self.claimed[token])
        records = data.draw(st.lists(some, min_size=1, unique_by=lambda r: r.path))
        outcomes = {r.path: data.draw(st.sampled_from(["deleted", "missing", "replaced"])) for r in records}
        settled = self.registry.ack(token, [Deletion(r, Outcome(outcomes[r.path])) for r in records])
        assert settled == self.model.ack(token, outcomes)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        token = data.draw(self._a_token())
        path = data.draw(st.sampled_from(self.claimed[token])).path
        assert self.registry.begin(token, path) == self.model.begin(token, path)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), delay=st.sampled_from([None, 1, 2500]), bury=st.booleans(), counts=st.booleans())
    def nack(self, data: st.DataObject, delay: int | None, bury: bool, counts: bool) -> None:
        token = data.draw(self._a_token())
        path = data.draw(st.sampled_from(self.claimed[token])).path
        reason = data.draw(st.sampled_from(["", "EACCES"]))
        settled = self.registry.nack(token, [Nack(path, delay, bury, counts, reason)])
        assert settled == self.model.nack(token, path, delay, bury, counts, reason)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), grace=st.sampled_from([1, 3000]), size=st.sampled_from([0, 9]))
    def set_aside(self, data: st.DataObject, grace: int, size: int) -> None:
        token = data.draw(self._a_token())
        record = data.draw(st.sampled_from(self.claimed[token]))
        if record.is_quarantined:
            # Its time in quarantine is over, so it is deleted, not quarantined again.
            return
        aside = f"/b/.aside/{os.path.basename(record.path)}.{token}"
        new = NewFile(
            aside, grace, size_bytes=size, identity=record.identity, flags="q", uid=0, tags=record.tags
        )
        settled = self.registry.quarantine(token, [(record.path, new)])
        assert settled == self.model.set_aside(token, record.path, aside, grace, size)

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), age=st.sampled_from([0, 1, 9000]), size=st.sampled_from([0, 9]))
    def rewrite(self, data: st.DataObject, age: int, size: int) -> None:
        token = data.draw(self._a_token())
        record = data.draw(st.sampled_from(self.claimed[token]))
        if record.is_quarantined:
            # Nobody writes to a file in quarantine.
            return
        new = Rewrite("i3", size, changed_ns=0)
        deletion = Deletion(record, Outcome.REWRITTEN, rewrite=new)
        settled = self.registry.rewrite(token, [deletion], now_ns=age * 1_000_000)
        assert settled == self.model.rewrite(token, record.path, age, size, "i3")

    @precondition(lambda self: self._deleted_by_name())
    @rule(data=st.data(), ttl=TTLS, tag=st.booleans())
    def register_another_file_while_one_is_deleted(self, data: st.DataObject, ttl: int, tag: bool) -> None:
        path = data.draw(st.sampled_from(self._deleted_by_name()))
        identity = "i2" if self.model.files[path].is_one_of("i1") else "i1"
        self.register(path, ttl, identity, 7, tag, "second")

    @precondition(lambda self: self.model.leased())
    @rule()
    def let_every_claim_run_out(self) -> None:
        self._move_to(max(self.model.leases.values()))
        self.reap()

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        token = data.draw(self._a_token())
        if self.model.leases.get(token, 0) > self.model.now:
            self.registry.extend(token, lease_ms=LEASE)
            self.model.leases[token] = self.model.now + LEASE
        else:
            with pytest.raises(LeaseLost):
                self.registry.extend(token, lease_ms=LEASE)

    @precondition(lambda self: self.model.leases or self.model.held())
    @rule()
    def reap(self) -> None:
        reaped = self.registry.reap()
        assert (reaped.recovered, reaped.unheld) == self.model.reap()
        assert not reaped.more

    @precondition(lambda self: self.model.files)
    @rule(data=st.data(), gone=st.booleans())
    def delete_the_directory_above(self, data: st.DataObject, gone: bool) -> None:
        """The files that are due go with it, unless another one in it has to stay."""
        some = PATHS | st.sampled_from(sorted(self.model.files))
        paths = data.draw(st.lists(some, min_size=1, max_size=3, unique=True))
        directory = FileRecord("/b/above", 0, 0)
        promises = NestedPromises(self.registry, lease_ms=LEASE, horizon=lambda: UNKNOWN)
        files = {path: self.model.inside(path) for path in paths}
        standing = [path for path, file in files.items() if file and file[0] not in ("due", "dead")]
        obstacle = promises.obstacle(directory, [paths], claim=True)
        assert (obstacle is None) == (standing == [])
        if obstacle is not None:
            latest = max((files[path] or ("", None))[1] or 0 for path in standing)
            assert obstacle.path in standing
            assert (obstacle.until_ms or 0) == latest
        due = [path for path, file in files.items() if file and file[0] == "due" and obstacle is None]
        if due:
            self.model.claim(due, int(self.registry.stats().meta["token"]), LEASE)
        promises.settle(directory, gone=gone)
        for path in due:
            if gone:
                self.model.ack(self.model.last_token, {path: "missing"})
            else:
                self.model.nack(self.model.last_token, path, None, False, False, "")

    @rule(path=PATHS)
    def revive(self, path: str) -> None:
        assert self.registry.revive([path]) == {path: self.model.revive(path)}

    @rule(ms=st.sampled_from([1, 500, 2000]))
    def advance(self, ms: int) -> None:
        self._move_to(self.model.now + ms)

    @precondition(lambda self: self.model.instants())
    @rule(data=st.data(), off=st.sampled_from([-1, 0]))
    def jump_to_the_next_deadline(self, data: st.DataObject, off: int) -> None:
        self._move_to(max(self.model.instants()[0] + off, self.model.now))

    @invariant()
    def every_path_is_where_the_model_has_it(self) -> None:
        paths = sorted({"/b/a", "/b/b", "/b/c\n\udcff", "/b/d", *self.model.files})
        _, records = self.registry.read(paths)
        for path, record in zip(paths, records, strict=True):
            entry = self.model.files.get(path)
            if entry is None:
                assert record is None
                continue
            assert record is not None
            assert (record.state, record.due_ms) == (entry.state, entry.due)
            assert (record.registered_ms, record.deadline_ms) == (entry.registered, entry.deadline)
            assert (record.identity, record.size_bytes) == (entry.identity, entry.size)
            assert (record.attempts, record.last_error) == (entry.attempts, entry.error)
            assert record.hold_reason == entry.reason
            assert set(record.flags) == {*entry.flags, *("s" if entry.shared else "")}

    @invariant()
    def a_directory_above_sees_what_was_promised(self) -> None:
        paths = sorted({"/b/a", "/b/b", *self.model.files})
        volume = self.registry.volume
        (found,) = Fleet(self.registry.store).inside([volume], paths).values()
        assert not isinstance(found, RegistryError)
        assert {inside.path: (inside.kind, inside.until_ms) for inside in found} == {
            path: self.model.inside(path) for path in self.model.files
        }

    @invariant()
    def counts_balance(self) -> None:
        stats = self.registry.stats()
        assert stats.imbalance == self.model.balance() == 0
        assert stats.records == len(self.registry) == stats.active == len(self.model.files)
        assert stats.bytes == sum(entry.size for entry in self.model.files.values())
        behind = [entry.behind.size for entry in self.model.files.values() if entry.behind is not None]
        assert (stats.behind, stats.total("behind_bytes")) == (len(behind), sum(behind))
        for name in ("registered", "deleted", "missing", "replaced", "released", "rewritten", "forgotten"):
            assert stats.total(name) == self.model.totals.get(name, 0), name
        assert stats.claims == len(self.model.leases)
        tagged = self.registry.tag_totals().get("a tag", TagTotal())
        assert (tagged.files, tagged.bytes) == self.model.tagged()
        assert (stats.total("aside"), stats.total("aside_bytes")) == self.model.aside()

    @invariant()
    def an_unregistered_file_leaves_a_trace_while_somebody_needs_it(self) -> None:
        paths = ["/b/a", "/b/b", "/b/c\n\udcff", "/b/d"]
        for path, former in zip(paths, self.registry.former(paths), strict=True):
            expected, ends = self.model.traces.get(path, (None, 0))
            if ends is None or ends > self.model.now:
                assert expected is not None and former is not None
                assert (former.identity, former.deadline_ms) == (expected.identity, expected.deadline)

    @invariant()
    def nothing_is_remembered_of_a_path_that_left(self) -> None:
        store = self.registry.store
        for name in ("retries", "errors", "next"):
            fields = store.client.hkeys(volume_key(store.namespace, self.registry.volume, name))
            assert {os.fsdecode(field) for field in fields} <= set(self.model.files), name

    @invariant()
    def a_file_is_held_exactly_while_it_has_a_keeper(self) -> None:
        store, expected = self.registry.store, {}
        for path, entry in self.model.files.items():
            assert (entry.state == "held") == bool(entry.keepers)
            assert self.registry.keepers(path) == [
                Keeper(name, reason, end) for name, (end, reason) in sorted(entry.keepers.items())
            ]
            for name, keeper in entry.keepers.items():
                expected[os.fsencode(path) + b"\0" + name.encode("utf-8", "surrogatepass")] = keeper
        keys = {name: volume_key(store.namespace, self.registry.volume, name) for name in VOLUME_KEYS}
        assert set(store.client.zrange(keys["keepers"], 0, -1)) == set(expected)
        assert set(store.client.zrange(keys["kept"], 0, -1)) == set(expected)
        reasons = store.client.hgetall(keys["reasons"])
        assert {k: v.decode("utf-8", "surrogatepass") for k, v in reasons.items()} == {
            keeper: reason for keeper, (_, reason) in expected.items() if reason
        }
        ends = store.client.zrange(keys["held"], 0, -1, withscores=True)
        assert ends == [(os.fsencode(path), float("inf")) for path in sorted(self.model.held())]
        assert self.registry.stats().keepers == len(expected)

    @invariant()
    def every_path_is_in_exactly_one_place(self) -> None:
        assert self.registry.audit() == []

    def _deleted_by_name(self) -> list[str]:
        """Returns the claimed paths outside the quarantine, because nobody registers names in it."""
        return [path for path in self.model.leased() if not self.model.files[path].is_quarantined]

    def _a_keeper(self) -> st.SearchStrategy[tuple[str, str]]:
        """Returns a path and the name of a keeper, often of one that keeps the path."""
        pairs = [(path, name) for path, entry in self.model.files.items() for name in entry.keepers]
        others = st.tuples(PATHS, KEEPERS)
        return st.sampled_from(sorted(pairs)) | others if pairs else others

    def _a_token(self) -> st.SearchStrategy[int]:
        """Returns a token, mostly of a claim that still has files, sometimes a stale one."""
        held = sorted(self.model.leases)
        return st.sampled_from(held * 2 + self.tokens)

    def _took(self, claim: Any) -> None:
        if claim.records:
            self.model.claim([record.path for record in claim.records], claim.token, LEASE)
            self.tokens.append(claim.token)
            self.claimed[claim.token] = claim.records

    def _claim_knowing(self, losses: int, known: Horizon, limit: int, *, named: bool) -> None:
        is_older = self.model.is_older(losses if known.epoch else None, known.last_token)
        expected = self.model.claimable()[:limit]
        if named:
            claim = self.registry.claim_paths(
                expected, lease_ms=LEASE, until_ms=self.model.now, quarantined=True, horizon=known
            )
        else:
            claim = self.registry.claim(limit=limit, lease_ms=LEASE, horizon=known)
        assert claim.obstacle == ("older" if is_older else "")
        assert [record.path for record in claim.records] == ([] if is_older else expected)
        self._took(claim)

    def _look(self) -> None:
        """Remember what a process would know of the registry now."""
        reading = FleetClock(self.registry.store).read(self.registry.volume)
        assert reading.last_token == self.model.last_token
        self.seen.append((self.model.losses, Horizon(last_token=reading.last_token, epoch=reading.epoch)))

    def _move_to(self, now: int) -> None:
        self.model.now = self.clock.now_ms = now

    def _agree(self, move: Callable[[], object], code: str) -> object:
        """Returns what *move* returned, None if it raised the right error."""
        if code == "absent":
            with pytest.raises(NotRegistered):
                move()
        elif code == "claimed":
            with pytest.raises(AlreadyClaimed):
                move()
        else:
            return move()
        return None


def walk(client: redis.Redis, *, examples: int) -> None:
    machine = type("WalkHere", (Walk,), {"connect": staticmethod(lambda: client)})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_registry_agrees_with_the_model_on_a_real_server(real_client: redis.Redis) -> None:
    walk(real_client, examples=100)


def test_the_registry_agrees_with_the_model_on_fakeredis() -> None:
    walk(fakeredis.FakeRedis(), examples=60)
