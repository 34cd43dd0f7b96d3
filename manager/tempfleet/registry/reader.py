"""
Looking at one volume's registry: what is known of files, page by page, and of the volume. Nothing is changed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import RegistryError, RegistryUnavailable
from ..records import FileRecord, State
from ..settings import LONGEST_TTL_SECONDS, MAX_BATCH
from .codec import Row, groups, record_of, tag_of
from .keys import Volume, VolumeKeys
from .stats import VolumeStats, parse_stats
from .store import Store, batches
from .values import TagTotal

MEMORY_SAMPLES = 50
"""Entries of each key that its memory is estimated from."""


class RegistryReader:
    """The records of one volume, to be read; see Registry for what every method may raise."""

    def __init__(self, store: Store, volume: Volume) -> None:
        self.store = store
        self.volume = volume
        self.keys = VolumeKeys(store.namespace, volume)

    def read(self, paths: Sequence[str]) -> tuple[int, list[FileRecord | None]]:
        """The registry's clock (ms) and the records of *paths*, None for those it does not have."""
        now_ms, found = 0, list[FileRecord | None]()
        for part in batches(paths):
            now_ms, rows = self._look(part)
            found += map(record_of, part, rows)
        return now_ms, found

    def stats(self) -> VolumeStats:
        return parse_stats(self._run("stats"))

    def memory_bytes(self) -> int | None:
        """What the registry takes of Redis's memory, estimated from samples; None where Redis does not tell."""
        pipeline = self.store.client.pipeline(transaction=False)
        for key in self.keys.values():
            pipeline.memory_usage(key, samples=MEMORY_SAMPLES)
        try:
            return sum(found or 0 for found in self.store.call(pipeline.execute))
        except RegistryUnavailable:
            raise
        except RegistryError:
            return None

    def tag_totals(self) -> dict[str, TagTotal]:
        """The files and bytes under each tag that has any, those in quarantine apart; in pages, not at one instant."""
        found: dict[str, TagTotal] = {}
        for page in self._pages("hscan", "tags", MAX_BATCH):
            for name, amount in page.items():
                kind, _, token = name.decode().partition(" ")
                total = found.setdefault(tag_of(token), TagTotal())
                setattr(total, kind, int(amount))
        return found

    def paths(self, *, page: int = MAX_BATCH) -> Iterator[list[str]]:
        """
        All paths, in pages of about *page*. What is there from beginning to end comes at least once; a path may
        come twice while the registry shrinks (Redis SCAN's guarantee).
        """
        yield from self._scan("records", page)

    def waiting_paths(self, *, page: int = MAX_BATCH) -> Iterator[list[str]]:
        """The paths in the registry proper: neither leased, held nor dead; pages as in ``paths``."""
        yield from self._scan("registry", page)

    def due_paths(self) -> Iterator[list[str]]:
        """The paths that ``claim`` would take now, the first due first."""
        yield from self._soonest(self.now_ms())

    def dead_paths(self, *, page: int = MAX_BATCH) -> Iterator[list[str]]:
        yield from self._scan("dead", page)

    def failed_paths(self, *, page: int = MAX_BATCH) -> Iterator[list[str]]:
        """The paths that did not go when they last could, dead ones and those that wait for another try."""
        yield from self._scan("errors", page)

    def all_records(self, *, state: State | None = None) -> Iterator[FileRecord]:
        """Every record, of one state if given; pages as in ``paths``."""
        pages = {State.WAITING: self.waiting_paths, State.DEAD: self.dead_paths}
        for page in pages[state]() if state in pages else self.paths():
            for record in self.read(page)[1]:
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
        members = self._redis("zrange", "dead", 0, limit - 1, desc=True, withscores=True)
        _, records = self.read([os.fsdecode(path) for path, _ in members])
        return [
            (int(buried), record)
            for (_, buried), record in zip(members, records, strict=True)
            if record is not None
        ]

    def due_within(self, *, within_ms: int, limit: int) -> list[FileRecord]:
        """Up to *limit* waiting files whose deadline is at most *within_ms* ahead, the soonest first."""
        until_ms = self.now_ms() + within_ms
        members = self._redis("zrangebyscore", "registry", "-inf", until_ms, start=0, num=limit)
        _, records = self.read([os.fsdecode(member) for member in members])
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
            for record in self.read(page)[1]:
                if record is not None and record.is_near_expiry(now_ms, fraction):
                    found.append(record)
            if len(found) >= limit:
                break
        return found[:limit]

    def __len__(self) -> int:
        return int(self._redis("hlen", "records"))

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
                for path, row in zip(page, self._look(page)[1], strict=True):
                    if row.is_known and not row.is_sound:
                        broken[path] = None
        return list(broken)

    def _run(self, script: str, **args: Any) -> Any:
        return self.store.run(script, self.keys, **args)

    def _redis(self, command: str, name: str, *args: Any, **options: Any) -> Any:
        """The answer to one command on the volume's key *name*."""
        return self.store.call(getattr(self.store.client, command), self.keys[name], *args, **options)

    def _look(self, paths: Sequence[str]) -> tuple[int, list[Row]]:
        now_ms, *reply = self._run("look", more=[os.fsencode(path) for path in paths])
        return int(now_ms), list(map(Row._make, groups(reply, len(Row._fields))))

    def _scan(self, name: str, page: int) -> Iterator[list[str]]:
        command = "hscan" if name in ("records", "errors") else "zscan"
        for members in self._pages(command, name, page):
            yield from map(list, batches([os.fsdecode(member) for member in members]))

    def _pages(self, command: str, name: str, page: int) -> Iterator[dict[bytes, Any]]:
        """What *command* (hscan, zscan) returns of the key *name*, about *page* entries at a time."""
        cursor = 0
        while True:
            cursor, members = self._redis(command, name, cursor=cursor, count=page)
            yield dict(members)
            if not cursor:
                return

    def _range(self, name: str, least: str | int, most: str | int) -> Iterator[list[str]]:
        start = 0
        while members := self._redis("zrangebyscore", name, least, most, start=start, num=MAX_BATCH):
            yield [os.fsdecode(member) for member in members]
            start += len(members)

    def _soonest(self, until_ms: int) -> Iterator[list[str]]:
        """
        What waits, the soonest due first. A page begins where the last one ended, at that deadline and not at that
        rank: so it costs the same however far on, and what goes meanwhile pushes nothing past.
        """
        # *skip* counts the paths of the deadline *least* that were in earlier pages.
        least, skip = float("-inf"), 0
        page = {"num": MAX_BATCH, "withscores": True}
        while members := self._redis("zrangebyscore", "registry", least, until_ms, start=skip, **page):
            yield [os.fsdecode(member) for member, _ in members]
            last = members[-1][1]
            skip = (skip if last == least else 0) + sum(score == last for _, score in members)
            least = last
