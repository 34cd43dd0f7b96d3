"""
One volume's registry: every move of a file's life as one method, every method one atomic script.

The only place where what is in Redis becomes what is in Python. Paths are ``str`` outside and bytes inside.
Batches are cut to what a script may move; each part is atomic, a batch as a whole is not.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from .errors import AlreadyClaimed, LeaseLost, NotRegistered
from .keys import SCHEMA, Volume, volume_key
from .logs import printable
from .moves import NO_LIMITS, Claim, Kept, Limits, Reaped, Registration, TagTotal
from .records import Deletion, FileRecord, NewFile, State, as_bytes, as_text, tag_of, unpack
from .settings import LONGEST_TTL_SECONDS, MAX_BATCH
from .stats import REFUSED, VolumeStats, bounds_text, bucket_of
from .store import Store

STATE_ORDER = (State.WAITING, State.LEASED, State.HELD, State.DEAD)
BROKEN_RECORD = b"1 0 0 0 ? - -1"
"""Stands for a record that was lost or damaged: no file has this identity, so nothing is deleted for it."""

FULL = "full"
"""The field of meta that ``mark_full`` writes."""

T = TypeVar("T")


class Registry:
    """
    The records of one volume.

    Every method may raise RegistryUnavailable (no answer: the move may or may not have happened, and all but
    claim() may simply be repeated), RegistryDenied or RegistryFull.
    """

    def __init__(self, store: Store, volume: Volume, *, disk: str = "") -> None:
        """*disk* is the identity of the base directory, where it can be seen; see disk.py."""
        self.store = store
        self.volume = volume
        self.disk = disk

    # -- the life of a file, in its order

    def register(self, files: Sequence[NewFile], limits: Limits = NO_LIMITS) -> list[Registration]:
        """
        Enter files, or renew the promise of those already known; see scripts/register.lua for the codes.

        The volume is announced in the same round trip, before its first registration.

        Raises:
            SchemaMismatch: another version wrote this registry; nothing was changed.
        """
        done: list[Registration] = []
        for part in _parts(files):
            more = [field for file in part for field in file.pack()]
            answer = self._run(
                "register",
                more=more,
                announce=True,
                schema=SCHEMA,
                epoch=secrets.token_hex(8),
                disk=self.disk,
                **limits.as_args(),
            )
            done += [
                Registration(code.decode(), file, int(registered), int(deadline))
                for file, (code, registered, deadline) in zip(part, _groups(answer, 3), strict=True)
            ]
        return done

    def renew(self, path: str, *, ttl_ms: int) -> int:
        """
        Move the deadline to *ttl_ms* from now, never earlier; returns it (ms, Redis clock).

        Raises:
            NotRegistered, AlreadyClaimed: nothing changed.
        """
        code, deadline = self._run("renew", more=[os.fsencode(path), ttl_ms])
        self._expect(code, path)
        return int(deadline)

    def hold(self, path: str, *, hold_ms: int | None, reason: str = "") -> None:
        """Keep a file for *hold_ms*, None for ever, because of *reason*. Raises as ``renew`` does."""
        ends = "" if hold_ms is None else hold_ms
        (code,) = self._run("hold", more=[os.fsencode(path)], hold_ms=ends, reason=as_bytes(reason))
        self._expect(code, path)

    def lift(self, path: str) -> bool:
        """End a hold; False when there was none. Raises NotRegistered."""
        (code,) = self._run("lift", more=[os.fsencode(path)])
        self._expect(code, path)
        return bool(code == b"lifted")

    def release(self, paths: Iterable[str], *, total: str = "released") -> dict[str, str]:
        """
        Take files out of management without touching them; the code of each: released, claimed, compressed (it is
        to be decompressed before) or absent.

        *total* names the counter: "released", "missing" (the file is gone), "moved_out" (another registry has it).
        """
        codes: dict[str, str] = {}
        for part in _parts(list(paths)):
            answer = self._run("release", more=[os.fsencode(path) for path in part], total=total)
            codes.update((path, code.decode()) for path, code in zip(part, answer, strict=True))
        return codes

    def claim(self, *, limit: int, lease_ms: int) -> Claim:
        """
        Pop up to *limit* due records into a lease, soonest deadline first.

        Args:
            limit: 1..1000 records.
            lease_ms: how long the claim holds; a holder that dies loses it then.

        Raises:
            RegistryUnavailable: Redis gave no answer. The claim may have happened; then nobody acks it and
                reap() returns it after *lease_ms*.
        """
        return self._claim(limit=limit, lease_ms=lease_ms, until_ms="", aside=0)

    def claim_paths(
        self, paths: Sequence[str], *, lease_ms: int, until_ms: int, aside: bool = False
    ) -> Claim:
        """
        Pop those of *paths* (at most 1000) that wait and were registered at or before *until_ms*, due or not; what
        is in quarantine only if *aside*.
        """
        more = [os.fsencode(path) for path in paths]
        limit = max(len(more), 1)
        return self._claim(limit=limit, lease_ms=lease_ms, until_ms=until_ms, aside=int(aside), more=more)

    def extend(self, token: int, *, lease_ms: int) -> None:
        """
        Give the claim *lease_ms* from now.

        Raises:
            LeaseLost: it was reaped; the files may be somebody else's now.
        """
        if not self._run("extend", token=token, lease_ms=lease_ms):
            raise LeaseLost

    def ack(self, token: int, deletions: Sequence[Deletion]) -> int:
        """
        Forget files that are gone; how many were still leased under *token*. For the others nothing changes.
        """
        settled = 0
        for part in _parts(deletions):
            more = [
                field
                for deletion in part
                for field in (os.fsencode(deletion.path), deletion.outcome.value, deletion.freed_bytes)
            ]
            settled += self._run(
                "ack", more=more, token=token, age_bounds=bounds_text("age"), lag_bounds=bounds_text("lag")
            )
        return settled

    def nack(self, token: int, kept: Sequence[Kept]) -> int:
        """
        Put files that are not gone back, later, or bury them; how many were still leased under *token*.
        """
        settled = 0
        for part in _parts(kept):
            more = [
                field
                for keep in part
                for field in (os.fsencode(keep.path), _delay(keep), int(keep.counts), keep.reason)
            ]
            settled += self._run("nack", more=more, token=token)
        return settled

    def set_aside(self, token: int, moved: Sequence[tuple[str, NewFile]]) -> int:
        """
        Let records follow their files into the quarantine: (path, file as it is there now); how many were still leased
        under *token*. They are due when the grace period, the new file's time to live, ends.
        """
        settled = 0
        for part in _parts(moved):
            more = [field for path, file in part for field in (os.fsencode(path), *file.pack())]
            settled += self._run("set_aside", more=more, token=token)
        return settled

    def amend(
        self,
        path: str,
        *,
        expected: str,
        identity: str,
        marks: str,
        size_bytes: int | None = None,
        total: str = "",
        saved_bytes: int = 0,
    ) -> bool:
        """
        Let the record of a file that changes its form stand for another object; see scripts/amend.lua. False where it
        is not as *expected*: nothing changed then.
        """
        return bool(
            self._run(
                "amend",
                path=os.fsencode(path),
                expected=expected,
                identity=identity,
                marks=marks,
                size="" if size_bytes is None else size_bytes,
                total=total,
                saved=max(saved_bytes, 0),
            )
        )

    def reap(self, *, limit: int = MAX_BATCH) -> Reaped:
        """Return up to *limit* files of claims, and of holds, that ran out; repeat while ``more``."""
        recovered, lifted, more = self._run("reap", limit=limit)
        return Reaped(recovered, lifted, bool(more))

    def revive(self, paths: Iterable[str]) -> dict[str, str]:
        """Bring dead letters back, due at once; the code of each: revived or absent."""
        codes: dict[str, str] = {}
        for part in _parts(list(paths)):
            answer = self._run("revive", more=[os.fsencode(path) for path in part])
            codes.update((path, code.decode()) for path, code in zip(part, answer, strict=True))
        return codes

    def bind(self, disk: str) -> None:
        """Take *disk* for the one that the registry's files are on, whatever it was."""
        key = volume_key(self.store.namespace, self.volume, "meta")
        self.store.call(lambda: self.store.client.hset(key, "disk", disk))

    def note_refusal(self, reason: str) -> None:
        """Keep in one word why the worker of this host does not serve the volume; "" when it does."""
        key, client = volume_key(self.store.namespace, self.volume, "meta"), self.store.client
        self.store.call(
            partial(client.hset, key, REFUSED, reason) if reason else partial(client.hdel, key, REFUSED)
        )

    # -- looking

    def look(self, paths: Sequence[str]) -> tuple[int, list[FileRecord | None]]:
        """The registry's clock (ms) and the records of *paths*, None for those it does not have."""
        now_ms, found = 0, list[FileRecord | None]()
        for part in _parts(paths):
            now_ms, seen = self._look(part)
            found += [_record(path, answer) for path, answer in zip(part, seen, strict=True)]
        return now_ms, found

    def stats(self) -> VolumeStats:
        return parse_stats(self._run("stats"))

    def tag_totals(self) -> dict[str, TagTotal]:
        """The files and bytes under each tag that has any, those in quarantine apart; in pages, not at one instant."""
        found: dict[str, TagTotal] = {}
        key = volume_key(self.store.namespace, self.volume, "tags")
        cursor = -1
        while cursor:
            cursor, page = self.store.call(
                partial(self.store.client.hscan, key, cursor=max(cursor, 0), count=MAX_BATCH)
            )
            for name, amount in page.items():
                kind, _, token = name.decode().partition(" ")
                total = found.setdefault(tag_of(token), TagTotal())
                setattr(total, kind, int(amount))
        return found

    def observe(
        self, *, duration_seconds: float, name: str = "duration", totals: dict[str, int] | None = None
    ) -> None:
        """Add a clean-up's ("duration") or a "sweep"'s time to its histogram, and amounts to totals."""
        more = [field for total in (totals or {}).items() for field in total]
        self._run(
            "observe",
            more=more,
            name=name,
            bucket=bucket_of(name, duration_seconds),
            ms=round(duration_seconds * 1000),
        )

    def count(self, total: str, amount: int = 1) -> None:
        """Add to one total."""
        self.count_all({total: amount})

    def count_all(self, totals: dict[str, int]) -> None:
        """Add to several totals, at one instant."""
        more = [field for total in totals.items() for field in total]
        self._run("observe", more=more, name="", bucket="", ms=0)

    def mark_full(self, full: bool) -> None:
        """
        Note whether this volume's file system is too full and nothing more can be evicted, for who asks after the
        volume's health; the last word counts.
        """
        key = volume_key(self.store.namespace, self.volume, "meta")
        self.store.call(lambda: self.store.client.hset(key, FULL, "1" if full else ""))

    def note(self, plugin: str, *, failures: int, said: str, hold_ms: int) -> None:
        """Count failures of a plug-in, and say for *hold_ms* why it is switched off; "" that it is well."""
        self._run("note", name=plugin, said=said, hold_ms=hold_ms, failures=failures)

    def paths(self, *, page: int = MAX_BATCH) -> Iterator[list[str]]:
        """
        All paths, in pages of about *page*. What is there from beginning to end comes at least once; a path may
        come twice while the registry shrinks (Redis SCAN's guarantee).
        """
        yield from self._scan("records", page)

    def waiting_paths(self, *, page: int = MAX_BATCH) -> Iterator[list[str]]:
        """The paths in the registry proper: neither leased, held nor dead; pages as in ``paths``."""
        yield from self._scan("registry", page)

    def dead_paths(self, *, page: int = MAX_BATCH) -> Iterator[list[str]]:
        yield from self._scan("dead", page)

    def all_records(self, *, state: State | None = None) -> Iterator[FileRecord]:
        """Every record, of one state if given; pages as in ``paths``."""
        pages = {State.WAITING: self.waiting_paths, State.DEAD: self.dead_paths}
        for page in pages[state]() if state in pages else self.paths():
            for record in self.look(page)[1]:
                if record is not None and state in (None, record.state):
                    yield record

    def reapable_paths(self) -> Iterator[list[str]]:
        """The paths that ``reap`` would put back now: of claims, and of holds, that ran out."""
        now_ms = self.now_ms()
        yield from self._range("held", "-inf", now_ms)
        for tokens in self._range("claims", "-inf", now_ms):
            for token in tokens:
                yield from self._range("leases", token, token)

    def latest_dead(self, *, limit: int) -> list[tuple[int, FileRecord]]:
        """Up to *limit* dead letters with the instants (ms) that they were buried at, the newest first."""
        key = volume_key(self.store.namespace, self.volume, "dead")
        members = self.store.call(
            lambda: self.store.client.zrange(key, 0, limit - 1, desc=True, withscores=True)
        )
        _, records = self.look([os.fsdecode(path) for path, _ in members])
        return [
            (int(buried), record)
            for (_, buried), record in zip(members, records, strict=True)
            if record is not None
        ]

    def due_within(self, *, within_ms: int, limit: int) -> list[FileRecord]:
        """Up to *limit* waiting files whose deadline is at most *within_ms* ahead, the soonest first."""
        now_ms, _ = self._look([])
        key = volume_key(self.store.namespace, self.volume, "registry")
        members = self.store.call(
            lambda: self.store.client.zrangebyscore(key, "-inf", now_ms + within_ms, start=0, num=limit)
        )
        _, records = self.look([os.fsdecode(member) for member in members])
        return [record for record in records if record is not None]

    def near_expiry(self, *, fraction: float, limit: int) -> list[FileRecord]:
        """
        Up to *limit* waiting files that have spent more than *fraction* of their lives, the soonest due first; those
        in quarantine are past it.

        A life of its own may be long or short, so files are looked at in the order of their deadlines, 1,000 a round
        trip (O(log N + 1,000)), until there are enough or *fraction* of the longest life lies behind the deadline: in
        the worst case all that wait.
        """
        found: list[FileRecord] = []
        now_ms = self.now_ms()
        until_ms = now_ms + math.ceil((1 - fraction) * LONGEST_TTL_SECONDS * 1000)
        for page in self._soonest(until_ms):
            for record in self.look(page)[1]:
                if record is not None and record.is_near_expiry(now_ms, fraction):
                    found.append(record)
            if len(found) >= limit:
                break
        return found[:limit]

    def __len__(self) -> int:
        key = volume_key(self.store.namespace, self.volume, "records")
        return int(self.store.call(lambda: self.store.client.hlen(key)))

    def now_ms(self) -> int:
        """The registry's clock."""
        return self._look([])[0]

    def audit(self) -> list[str]:
        """
        Every path that breaks invariant 1: not in exactly one set, or a set member without a record, or a record
        without a set. Each is looked at by one atomic script, so work that goes on meanwhile is no finding.
        """
        broken: dict[str, None] = {}
        for name in ("records", "registry", "leases", "held", "dead"):
            for page in self._scan(name, MAX_BATCH):
                _, seen = self._look(page)
                for path, (record, *scores, _attempts, _error, _reason) in zip(page, seen, strict=True):
                    sets = sum(score != b"" for score in scores)
                    if (record != b"" or sets) and (record == b"" or sets != 1):
                        broken[path] = None
        return list(broken)

    # -- inside

    def _run(self, script: str, **args: Any) -> Any:
        return self.store.run(script, self.volume, **args)

    def _claim(self, **args: Any) -> Claim:
        token, now_ms, left, *files = self._run("claim", **args)
        records = tuple(_claimed(*file) for file in _groups(files, 3))
        return Claim(int(token or 0), int(now_ms), left, records)

    def _look(self, paths: Sequence[str]) -> tuple[int, list[list[bytes]]]:
        now_ms, *answer = self._run("look", more=[os.fsencode(path) for path in paths])
        return int(now_ms), _groups(answer, 8)

    def _scan(self, name: str, page: int) -> Iterator[list[str]]:
        key = volume_key(self.store.namespace, self.volume, name)
        client = self.store.client
        scan: Callable[..., Any] = client.hscan if name == "records" else client.zscan
        cursor = 0
        while True:
            answer = self.store.call(partial(scan, key, cursor=cursor, count=page))
            cursor, members = answer[0], dict(answer[1])
            yield from map(list, _parts([os.fsdecode(member) for member in members]))
            if not cursor:
                return

    def _range(self, name: str, least: str | int, most: str | int) -> Iterator[list[str]]:
        key = volume_key(self.store.namespace, self.volume, name)
        start = 0
        while members := self.store.call(
            partial(self.store.client.zrangebyscore, key, least, most, start=start, num=MAX_BATCH)
        ):
            yield [os.fsdecode(member) for member in members]
            start += len(members)

    def _soonest(self, until_ms: int) -> Iterator[list[str]]:
        """
        What waits, the soonest due first. A page begins where the last one ended, at that deadline and not at that
        rank: so it costs the same however far on, and what goes meanwhile pushes nothing past.
        """
        key = volume_key(self.store.namespace, self.volume, "registry")
        least, seen = float("-inf"), 0  # how many of that very deadline were seen
        while members := self.store.call(
            partial(
                self.store.client.zrangebyscore,
                key,
                least,
                until_ms,
                start=seen,
                num=MAX_BATCH,
                withscores=True,
            )
        ):
            yield [os.fsdecode(member) for member, _ in members]
            last = members[-1][1]
            seen = (seen if last == least else 0) + sum(score == last for _, score in members)
            least = last

    def _expect(self, code: bytes, path: str) -> None:
        if code == b"absent":
            raise NotRegistered(f"{printable(path)} is not registered {self.volume.in_words}.", path=path)
        if code == b"claimed":
            raise AlreadyClaimed(f"{printable(path)} is being deleted at this moment.", path=path)


def parse_stats(answer: Sequence[Any]) -> VolumeStats:
    """What scripts/stats.lua returns."""
    now_ms, *counts, oldest, totals, meta = answer
    waiting, leased, claims, held, dead, records, failed, behind, due = counts
    return VolumeStats(
        now_ms=int(now_ms),
        waiting=waiting, leased=leased, claims=claims, held=held, dead=dead,
        records=records, retrying=max(failed - dead, 0), behind=behind, due=due,
        oldest_ms=int(float(oldest)) if oldest else None,
        totals={name.decode(): int(value) for name, value in _groups(totals, 2)},
        meta={name.decode(): value.decode() for name, value in _groups(meta, 2)},
    )  # fmt: skip


def _claimed(path: bytes, packed: bytes, attempts: bytes) -> FileRecord:
    return _unpacked(path, packed, attempts=int(attempts))


def _unpacked(path: bytes, packed: bytes, **known: Any) -> FileRecord:
    """One damaged record stops nobody from seeing, or cleaning, all others."""
    try:
        return unpack(path, packed, **known)
    except ValueError:
        return unpack(path, BROKEN_RECORD, **known)


def _record(path: str, seen: Sequence[bytes]) -> FileRecord | None:
    packed, *scores, attempts, error, reason = seen
    place = next(((state, score) for state, score in zip(STATE_ORDER, scores, strict=True) if score), None)
    if packed == b"" or place is None:
        return None
    state, score = place
    timed = state in (State.WAITING, State.HELD) and score != b"inf"
    return _unpacked(
        os.fsencode(path),
        packed,
        state=state,
        due_ms=int(float(score)) if timed else None,
        attempts=int(attempts or 0),
        last_error=error.decode(),
        hold_reason=as_text(reason),
    )


def _delay(keep: Kept) -> str | int:
    if keep.bury:
        return "never"
    return "own" if keep.delay_ms is None else keep.delay_ms


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), MAX_BATCH):
        yield items[start : start + MAX_BATCH]


def _groups(flat: Sequence[Any], size: int) -> list[Any]:
    """A flat reply in groups of *size*; zip over one iterator, because claims are large."""
    return list(zip(*[iter(flat)] * size, strict=True))
