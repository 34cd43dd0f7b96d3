"""
One file system on its way down from its high mark to its low one: which files go, in which order, until when.

A descent frees what had to go when it began, and no more: a file system that tells late of what it got back (xfs does)
costs nobody a file.

First goes what is in quarantine, for it was deleted already; then what is due; then, by the policy, what waits. What
goes is gone at once, for in quarantine it would lie on the same disk. Each file is asked for before it is claimed, as
``explain`` asks: one that is in use, vetoed, replaced or refused is left alone, and so is what failed before and waits
for its next try. Held files do not wait, so they are never looked at. A plug-in that fails to say what it keeps ends
the descent.

A choice looks at every waiting record of the volume, and at each of its files: O(files), in pages, about a minute for
a million (54 us each). It is made once for as many as 10,000 files, and again for what in the end could not go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from ..cleanup import Cause, Cleaner, CleanupReport
from ..errors import RegistryFull
from ..logs import logger
from ..plugins import FAILED, Candidate, Order
from ..records import Deletion, FileRecord, Outcome, State
from .selection import Shortfall, choose
from .usage import DiskUsage, Kind, again


@dataclass(slots=True)
class EvictionReport:
    """
    What one eviction did, or would do (``dry_run``).

    Attributes:
        before: what was above its high mark, and how far.
        after: the same things, measured at the end.
        wanted_bytes, wanted_files: what had to go, to be down at the low marks (files: inodes).
        freed_bytes, freed_files: what the disk got back, in whole blocks, and in inodes.
        evicted: how many files (or directories registered as one) went.
        exhausted: more had to go, and there was nothing left that could.
        files: what went, in that order; only where somebody asked for their names.
    """

    dry_run: bool = False
    before: list[DiskUsage] = field(default_factory=list)
    after: list[DiskUsage] = field(default_factory=list)
    wanted_bytes: int = 0
    wanted_files: int = 0
    freed_bytes: int = 0
    freed_files: int = 0
    evicted: int = 0
    exhausted: bool = False
    seconds: float = 0.0
    files: list[Candidate] = field(default_factory=list)

    @property
    def is_stuck(self) -> bool:
        """Whether something is above its high mark still, and nothing more can go."""
        return self.exhausted and any(reading.is_high for reading in self.after)

    def as_dict(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry_run,
            "before": [reading.as_dict() for reading in self.before],
            "after": [reading.as_dict() for reading in self.after],
            "wanted_bytes": self.wanted_bytes, "wanted_files": self.wanted_files,
            "freed_bytes": self.freed_bytes, "freed_files": self.freed_files,
            "evicted": self.evicted, "stuck": self.is_stuck, "seconds": round(self.seconds, 3),
            "files": [
                {"path": gone.record.path, "size_bytes": gone.size_bytes, "age_seconds": gone.age_ms / 1000,
                 "quarantined": gone.record.is_quarantined}
                for gone in self.files
            ],
        }  # fmt: skip


class EvictionPass:
    """Brings one file system down: *above* are its readings that are above their high marks."""

    def __init__(
        self,
        cleaner: Cleaner,
        order: Order,
        above: Sequence[DiskUsage],
        report: EvictionReport,
        *,
        names: bool,
        stop: Event | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.cleaner = cleaner
        self.registry = cleaner.registry
        self.order = order
        self.above = above
        self.report = report
        self.names = names
        self.stop = stop
        self.progress = progress
        self.need = Shortfall(
            bytes=max((reading.wanted for reading in above if reading.kind is not Kind.INODES), default=0),
            files=max((reading.wanted for reading in above if reading.kind is Kind.INODES), default=0),
        )
        self._began_ms = self.registry.now_ms()
        self._tried: set[str] = set()
        self._at: dict[str, Candidate] = {}

    def run(self) -> None:
        """Add what is done, or with ``dry_run`` what would be, to the report."""
        self.report.wanted_bytes += self.need.bytes
        self.report.wanted_files += self.need.files
        if self.report.dry_run:
            for page in self._pages():
                self._account(Deletion(self._at[path].record, Outcome.DELETED) for path in page)
            return
        self.cleaner.clean_paths(
            self._pages(),
            Cause.EVICTED,
            until_ms=self._began_ms,
            stop=self.stop,
            progress=self._move_on,
        )

    def _move_on(self, done: CleanupReport) -> None:
        self._account(done.latest)
        if self.progress is not None:
            self.progress(self.report.evicted)

    def _pages(self) -> Iterator[list[str]]:
        """What is to go next, in batches, until enough is gone or nothing is left that could."""
        size = self.cleaner.settings.batch_size
        while not self.need.is_met:
            chosen = choose(self._candidates(), self._rank, self.need)
            if not chosen and not self._is_stopped:
                self.report.exhausted = True
                return
            for start in range(0, len(chosen), size):
                if self._is_stopped or self._is_low:
                    return
                self._at = {each.record.path: each for each in chosen[start : start + size]}
                self._tried.update(self._at)
                seen = self._examined()
                if any(each.reason.startswith(f"{FAILED}:") for each in seen):
                    self.report.exhausted = True  # it would be asked about every file there is, for nothing
                    return
                yield [each.path for each in seen if each.outcome is Outcome.DELETED]
            if self._is_stopped:
                return

    def _candidates(self) -> Iterator[list[Candidate]]:
        deleter = self.cleaner.deleter
        for page in self.registry.waiting_paths(page=self.cleaner.settings.batch_size):
            if self._is_stopped:
                return
            now_ms, found = self.registry.read([path for path in page if path not in self._tried])
            records = [record for record in found if record is not None and self._may_go(record)]
            yield [
                Candidate(record, weight.size_bytes, weight.files, weight.used_ms, now_ms)
                for record, weight in zip(records, deleter.footprints(records), strict=True)
                if weight is not None
            ]

    def _may_go(self, record: FileRecord) -> bool:
        """What was registered since waits for the next descent; what failed before, for its own next try."""
        root = self.cleaner.roots.find(record.path)
        return (
            record.state is State.WAITING
            and not record.attempts
            and record.registered_ms <= self._began_ms
            and root is not None
            and root.device == self.above[0].device
        )

    def _examined(self) -> list[Deletion]:
        return list(self.cleaner.previews.evicted([candidate.record for candidate in self._at.values()]))

    def _rank(self, candidates: Sequence[Candidate]) -> list[tuple[float, ...]]:
        places = iter(self.order([each for each in candidates if not each.record.is_quarantined]))

        def place(candidate: Candidate) -> tuple[float, ...]:
            record = candidate.record
            if record.is_quarantined:
                return (0, record.registered_ms)
            return (1 if record.deadline_ms <= candidate.now_ms else 2, next(places))

        return [place(candidate) for candidate in candidates]

    @property
    def _is_low(self) -> bool:
        """Others may have made room as well."""
        now = again(self.above, self.cleaner.roots, self.cleaner.settings)
        return not self.report.dry_run and all(reading.is_low for reading in now)

    @property
    def _is_stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    def _account(self, deletions: Iterable[Deletion]) -> None:
        gone = [self._at[each.path] for each in deletions if each.outcome is Outcome.DELETED]
        for candidate in gone:
            self.need.take(candidate)
            self.report.freed_bytes += candidate.size_bytes
            self.report.freed_files += candidate.files
        self.report.evicted += len(gone)
        if self.names:
            self.report.files += gone
        if gone and not self.report.dry_run:
            self._tried.difference_update(candidate.record.path for candidate in gone)
            self._count(gone)

    def _count(self, gone: Sequence[Candidate]) -> None:
        """After each batch, so that a process that dies loses one batch's count and no more."""
        freed = sum(candidate.size_bytes for candidate in gone)
        try:
            self.registry.count_all({"evicted": len(gone), "evicted_bytes": freed})
        except RegistryFull as exc:
            logger.warning("What was evicted was not counted: %s", exc)
