"""
Read one volume's registry: its records, page by page, and its counts. Nothing here changes it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..errors import RegistryError, RegistryUnavailable
from ..records import FileRecord, State
from ..settings import LONGEST_TTL_SECONDS, MAX_BATCH
from .codec import Row, groups, record_of, tag_of, tag_token, unpack_or_broken, waiting_record
from .connection import mismatch
from .keys import SCHEMA, Volume, VolumeKeys
from .stats import VolumeStats, parse_stats
from .store import Store
from .values import Cursor, TagTotal, batches

MEMORY_SAMPLES = 50
"""The number of entries per key from which Redis estimates the memory of the key."""


class RegistryReader:
    """Reads the records of one volume. Registry lists the errors that every method may raise."""

    def __init__(self, store: Store, volume: Volume) -> None:
        self.store = store
        self.volume = volume
        self.keys = VolumeKeys(store.namespace, volume)

    def read(self, paths: Sequence[str]) -> tuple[int, list[FileRecord | None]]:
        """The time by the Redis clock (ms), and the record of each path; None for a path without one."""
        now_ms, records = 0, list[FileRecord | None]()
        for batch in batches(paths):
            now_ms, rows, slack_ms = self._read_rows(batch)
            records += [record_of(path, row, slack_ms) for path, row in zip(batch, rows, strict=True)]
        return now_ms, records

    def stats(self) -> VolumeStats:
        """
        Raises:
            SchemaMismatch: another version wrote this registry. Fleet.stats counts it nevertheless.
        """
        stats = parse_stats(self._run("stats"))
        if stats.schema != str(SCHEMA):
            raise mismatch(stats.schema)
        return stats

    def epoch(self) -> str:
        """The random text that the registry got when it was made; "" if it does not exist."""
        epoch = self._redis("hget", "meta", "epoch")
        return epoch.decode() if epoch else ""

    def former(self, paths: Sequence[str]) -> list[FileRecord | None]:
        """The record that each of *paths* had when it was unregistered, if there is a trace of that."""
        names = [os.fsencode(path) for path in paths]
        found = self._redis("hmget", "former", names) if names else []
        return [
            None if packed is None else unpack_or_broken(name, packed)
            for name, packed in zip(names, found, strict=True)
        ]

    def memory_bytes(self) -> int | None:
        """The memory of the registry in Redis, estimated from samples; None if an ACL forbids reading it."""
        pipeline = self.store.client.pipeline(transaction=False)
        for key in self.keys.values():
            pipeline.memory_usage(key, samples=MEMORY_SAMPLES)
        try:
            return sum(size or 0 for size in self.store.execute(pipeline))
        except RegistryUnavailable:
            raise
        except RegistryError:
            return None

    def tag_totals(self) -> dict[str, TagTotal]:
        """The files and bytes of each tag, without quarantined files. Read in pages, not at one point in time."""
        totals: dict[str, TagTotal] = {}
        for page in self._pages("hscan", "tags", MAX_BATCH):
            for name, amount in page.items():
                kind, _, token = name.decode().partition(" ")
                total = totals.setdefault(tag_of(token), TagTotal())
                setattr(total, kind, int(amount))
        return totals

    def amounts_of(self, tags: Iterable[str]) -> tuple[int, ...]:
        """The files and bytes of each of *tags*, which are sorted."""
        fields = [f"{kind} {tag_token(tag)}" for tag in sorted(tags) for kind in ("files", "bytes")]
        return tuple(int(amount or 0) for amount in self._redis("hmget", "tags", fields))

    def paths(self, *, page: int = MAX_BATCH) -> Iterator[list[str]]:
        """
        All paths, in pages of about *page*. A path that is registered from the beginning to the end comes at least
        once. While the registry shrinks, a path may come twice (both are guarantees of Redis SCAN).
        """
        yield from self._scan("records", page)

    def registrations(self, *, page: int = MAX_BATCH) -> Iterator[dict[str, int]]:
        """``registered_ms`` of all paths, in pages as in ``paths``: one round trip each."""
        for rows in self._pages("hscan", "records", page):
            yield {
                os.fsdecode(path): unpack_or_broken(path, packed).registered_ms
                for path, packed in rows.items()
            }

    def waiting_paths(self, *, page: int = MAX_BATCH) -> Iterator[list[str]]:
        """The paths of waiting files: neither leased, held nor dead. Pages as in ``paths``."""
        yield from self._scan("registry", page)

    def page(self, cursor: Cursor, *, limit: int, aside: str) -> tuple[int, list[FileRecord], Cursor | None]:
        """
        The time by the Redis clock (ms), the records of about *limit* waiting files from *cursor* on, and the next
        cursor, None at the end. Those whose paths contain *aside*, the quarantined ones, are left out.
        """
        args = {"least": cursor.least, "skip": cursor.skip, "limit": limit, "aside": aside}
        now, slack, least, skip, *files = self._run("page", **args)
        records = [waiting_record(*file, slack_ms=int(slack)) for file in groups(files, 4)]
        return int(now), records, Cursor(least.decode(), skip) if least else None

    def due_paths(self, *, later_ms: int = 0) -> Iterator[list[str]]:
        """The paths that ``claim`` would take *later_ms* ago, the earliest due first."""
        yield from self._soonest(self.past_ms() - later_ms)

    def leased_paths(self, *, page: int = MAX_BATCH) -> Iterator[list[str]]:
        yield from self._scan("leases", page)

    def dead_paths(self, *, page: int = MAX_BATCH) -> Iterator[list[str]]:
        yield from self._scan("dead", page)

    def failed_paths(self, *, page: int = MAX_BATCH) -> Iterator[list[str]]:
        """The paths whose last deletion failed: dead letters, and files that wait for a retry."""
        yield from self._scan("errors", page)

    def all_records(self, *, state: State | None = None) -> Iterator[FileRecord]:
        """Every record, or those in one state; read in pages as in ``paths``."""
        pages = {State.WAITING: self.waiting_paths, State.DEAD: self.dead_paths}
        for page in pages[state]() if state in pages else self.paths():
            for record in self.read(page)[1]:
                if record is not None and state in (None, record.state):
                    yield record

    def reapable_paths(self, *, later_ms: int = 0, jumped_ms: int = 0) -> Iterator[list[str]]:
        """
        The paths that ``reap`` would give back: those of holds that had ended *later_ms* ago, and those of leases that
        had ended *jumped_ms* ago.
        """
        yield from self.ended_hold_paths(later_ms=later_ms)
        yield from self.expired_lease_paths(jumped_ms=jumped_ms)

    def ended_hold_paths(self, *, later_ms: int = 0) -> Iterator[list[str]]:
        """The paths whose keepers had all ended *later_ms* ago, each once."""
        start, page = 0, {"num": MAX_BATCH, "withscores": True}
        until_ms = self.past_ms() - later_ms
        while members := self._redis("zrangebyscore", "keepers", "-inf", until_ms, start=start, **page):
            ends = {path_of(member): int(end) for member, end in members}
            now_ms, records = self.read(list(ends))
            # The last keeper of a file stands for it.
            if paths := [
                r.path
                for r in records
                if r and r.has_ended_hold(now_ms - later_ms) and r.due_ms == ends[r.path] + r.slack_ms
            ]:
                yield paths
            start += len(members)

    def expired_lease_paths(self, *, jumped_ms: int = 0) -> Iterator[list[str]]:
        jumped_ms += int(self._redis("hget", "meta", "jumped_ms") or 0)
        for tokens in self._range("claims", "-inf", self.now_ms() - jumped_ms):
            for token in tokens:
                yield from self._range("leases", token, token)

    def latest_dead(self, *, limit: int) -> list[tuple[int, FileRecord]]:
        """Up to *limit* dead letters, each with the time (ms) at which it became one; the newest first."""
        members = self._redis("zrange", "dead", 0, limit - 1, desc=True, withscores=True)
        _, records = self.read([os.fsdecode(path) for path, _ in members])
        return [
            (int(buried), record)
            for (_, buried), record in zip(members, records, strict=True)
            if record is not None
        ]

    def due_within(self, *, within_ms: int, limit: int) -> list[FileRecord]:
        """Up to *limit* waiting files that fall due within *within_ms*, the earliest first."""
        until_ms = self.past_ms() + within_ms
        members = self._redis("zrangebyscore", "registry", "-inf", until_ms, start=0, num=limit)
        _, records = self.read([os.fsdecode(member) for member in members])
        return [record for record in records if record is not None]

    def near_expiry(self, *, fraction: float, limit: int) -> list[FileRecord]:
        """
        Up to *limit* waiting files, outside the quarantine, with more than *fraction* of their time to live over. The
        earliest due come first.

        Files have different times to live, so no index has this order. This reads files in the order of their
        deadlines, 1,000 per round trip (O(log N + 1,000)). It ends when there are enough, or when the deadline is too
        far ahead for a file with the longest time to live. In the worst case it reads all waiting files.
        """
        records: list[FileRecord] = []
        now_ms, _, slack_ms = self._read_rows([])
        until_ms = now_ms - slack_ms + math.ceil((1 - fraction) * LONGEST_TTL_SECONDS * 1000)
        for page in self._soonest(until_ms):
            for record in self.read(page)[1]:
                if record is not None and record.is_near_expiry(now_ms, fraction):
                    records.append(record)
            if len(records) >= limit:
                break
        return records[:limit]

    def __len__(self) -> int:
        return int(self._redis("hlen", "records"))

    def now_ms(self) -> int:
        """The time by the Redis clock."""
        return self._read_rows([])[0]

    def past_ms(self) -> int:
        """The Redis clock without its slack: deadlines at or before it have passed."""
        now_ms, _, slack_ms = self._read_rows([])
        return now_ms - slack_ms

    def audit(self) -> list[str]:
        """
        Every path that breaks invariant 1: it is in several sets, in a set without a record, or has a record but is in
        no set; or it is held without a keeper, or has keepers without being held. One atomic script reads each path,
        so concurrent work is never reported.
        """
        broken: dict[str, None] = {}
        for name in ("records", "registry", "leases", "held", "dead"):
            for page in self._scan(name, MAX_BATCH):
                for path, row in zip(page, self._read_rows(page)[1], strict=True):
                    if row.is_known and not row.is_sound:
                        broken[path] = None
        for name in ("keepers", "kept"):
            for members in self._pages("zscan", name, MAX_BATCH):
                for batch in batches(list(members)):
                    sound = self._run("check_keepers", more=batch)
                    broken |= {
                        path_of(keeper): None for keeper, ok in zip(batch, sound, strict=True) if not ok
                    }
        return list(broken)

    def _run(self, script: str, **args: Any) -> Any:
        return self.store.run(script, self.keys, **args)

    def _redis(self, command: str, name: str, *args: Any, **options: Any) -> Any:
        """The reply to one command on the volume's key *name*."""
        return self.store.call(getattr(self.store.client, command), self.keys[name], *args, **options)

    def _read_rows(self, paths: Sequence[str]) -> tuple[int, list[Row], int]:
        """The time by the Redis clock (ms), what there is of each path, and the slack (ms)."""
        now_ms, slack_ms, *reply = self._run("read", more=[os.fsencode(path) for path in paths])
        return int(now_ms), list(map(Row._make, groups(reply, len(Row._fields)))), int(slack_ms)

    def _scan(self, name: str, page: int) -> Iterator[list[str]]:
        command = "hscan" if name in ("records", "errors") else "zscan"
        for members in self._pages(command, name, page):
            yield from map(list, batches([os.fsdecode(member) for member in members]))

    def _pages(self, command: str, name: str, page: int) -> Iterator[dict[bytes, Any]]:
        """The entries of the key *name*, about *page* at a time; *command* is hscan or zscan."""
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
        The waiting paths, the earliest due first. A page begins at the last deadline of the page before, not at a rank.
        So each page costs the same, and files that leave meanwhile make no other file be skipped.
        """
        # *skip* counts the paths of the deadline *least* that were in earlier pages.
        least, skip = float("-inf"), 0
        page = {"num": MAX_BATCH, "withscores": True}
        while members := self._redis("zrangebyscore", "registry", least, until_ms, start=skip, **page):
            yield [os.fsdecode(member) for member, _ in members]
            last = members[-1][1]
            skip = (skip if last == least else 0) + sum(score == last for _, score in members)
            least = last


def path_of(keeper: bytes) -> str:
    """The path in a member of keepers or kept."""
    return os.fsdecode(keeper.partition(b"\0")[0])
