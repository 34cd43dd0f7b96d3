"""
One eviction pass: brings one file system down from its high mark to its low mark.

A pass frees the amount computed at its start. XFS reports freed space late; measuring again during the pass would evict
too much.

Quarantined files go first, because they were deleted already. Then due files go, then the other waiting files, both by
the score of the policy. No file is quarantined now, because the quarantine lies on the same disk. Before a file is
claimed, its deletion is previewed, as in ``explain``. A file that is in use, vetoed, replaced or refused stays. A file
that waits for the retry of a failed deletion stays too. Held files do not wait, so they are never read. If a plug-in
fails to answer which files it vetoes, the pass ends.

A selection reads every waiting record of the volume and inspects each file: O(files), in pages, about a minute for a
million (54 us each). One selection yields up to 10,000 files. Files that could not be deleted are replaced by another
selection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from ..cleanup import Cause, Cleaner, CleanupReport
from ..errors import RegistryFull
from ..logs import logger
from ..plugins import FAILED, Candidate, Policy
from ..records import Deletion, FileRecord, Outcome, State
from .selection import Shortfall, choose
from .usage import DiskUsage, Kind, measure_again


@dataclass(slots=True)
class EvictionReport:
    """
    What one eviction did, or would do (``dry_run``).

    Attributes:
        before: the usages that were above their high marks.
        after: the same usages, measured at the end.
        wanted_bytes, wanted_files: the amount above the low marks (files: inodes).
        freed_bytes, freed_files: the freed space in whole blocks, and the freed inodes.
        evicted: the number of deleted files (a directory that is registered as a whole counts as one).
        exhausted: more had to be freed, but no other file could be deleted.
        files: the deleted files in their order; only if the caller asked for names.
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
        """Whether a usage is still above its high mark, and no other file can be deleted."""
        return self.exhausted and any(usage.is_high for usage in self.after)

    def as_dict(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry_run,
            "before": [usage.as_dict() for usage in self.before],
            "after": [usage.as_dict() for usage in self.after],
            "wanted_bytes": self.wanted_bytes,
            "wanted_files": self.wanted_files,
            "freed_bytes": self.freed_bytes,
            "freed_files": self.freed_files,
            "evicted": self.evicted,
            "stuck": self.is_stuck,
            "seconds": round(self.seconds, 3),
            "files": [
                {
                    "path": file.record.path,
                    "size_bytes": file.size_bytes,
                    "age_seconds": file.age_ms / 1000,
                    "quarantined": file.record.is_quarantined,
                }
                for file in self.files
            ],
        }


class EvictionPass:
    """Frees one file system. *high* are its usages above their high marks."""

    def __init__(
        self,
        cleaner: Cleaner,
        policy: Policy,
        high: Sequence[DiskUsage],
        report: EvictionReport,
        *,
        names: bool,
        stop: Event | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.cleaner = cleaner
        self.registry = cleaner.registry
        self.policy = policy
        self.high = high
        self.report = report
        self.names = names
        self.stop = stop
        self.progress = progress
        self.shortfall = Shortfall(
            bytes=max((usage.excess for usage in high if usage.kind is not Kind.INODES), default=0),
            files=max((usage.excess for usage in high if usage.kind is Kind.INODES), default=0),
        )
        # A rewritten file is not deleted yet, but its claim records the new object, so that the next pass can evict it.
        self._claimed = {Outcome.DELETED} if report.dry_run else {Outcome.DELETED, Outcome.REWRITTEN}
        self._began_ms = self.registry.now_ms()
        self._tried: set[str] = set()
        self._batch: dict[str, Candidate] = {}

    def run(self) -> None:
        """Evict, or with ``dry_run`` only preview, and add the counts to the report."""
        self.report.wanted_bytes += self.shortfall.bytes
        self.report.wanted_files += self.shortfall.files
        if self.report.dry_run:
            if not self.cleaner.clock.outlook().claims(early=True):
                self.report.exhausted = True
                return
            for page in self._pages():
                self._account(Deletion(self._batch[path].record, Outcome.DELETED) for path in page)
            return
        self.cleaner.clean_paths(
            self._pages(),
            Cause.EVICTED,
            until_ms=self._began_ms,
            stop=self.stop,
            progress=self._add_batch,
        )

    def _add_batch(self, report: CleanupReport) -> None:
        self._account(report.latest)
        if self.progress is not None:
            self.progress(self.report.evicted)

    def _pages(self) -> Iterator[list[str]]:
        """Yields the paths of the next batch, until enough is freed or no candidate is left."""
        size = self.cleaner.settings.batch_size
        while not self.shortfall.is_met:
            chosen = choose(self._candidates(), self._scores, self.shortfall)
            if not chosen and not self._is_stopped:
                self.report.exhausted = True
                return
            for start in range(0, len(chosen), size):
                if self._is_stopped or self._is_low:
                    return
                self._batch = {file.record.path: file for file in chosen[start : start + size]}
                self._tried.update(self._batch)
                results = list(self.cleaner.previews.evicted([file.record for file in self._batch.values()]))
                if any(result.reason.startswith(f"{FAILED}:") for result in results):
                    # The next pages would only ask the failed plug-in about every other file.
                    self.report.exhausted = True
                    return
                yield [result.path for result in results if result.outcome in self._claimed]
            if self._is_stopped:
                return

    def _candidates(self) -> Iterator[list[Candidate]]:
        deleter = self.cleaner.deleter
        for page in self.registry.waiting_paths(page=self.cleaner.settings.batch_size):
            if self._is_stopped:
                return
            now_ms, entries = self.registry.read([path for path in page if path not in self._tried])
            records = [record for record in entries if record is not None and self._may_go(record, now_ms)]
            yield [
                Candidate(record, footprint.size_bytes, footprint.files, footprint.used_ms, now_ms)
                for record, footprint in zip(records, deleter.footprints(records), strict=True)
                if footprint is not None
            ]

    def _may_go(self, record: FileRecord, now_ms: int) -> bool:
        """Not if it was registered after the pass began, and not if it waits for the retry of a failed deletion."""
        root = self.cleaner.roots.find(record.path)
        return (
            record.state is State.WAITING
            and not record.attempts
            # A registration later than now was made before Redis's clock stepped back.
            and not self._began_ms < record.registered_ms <= now_ms
            and root is not None
            and root.device == self.high[0].device
        )

    def _scores(self, candidates: Sequence[Candidate]) -> list[tuple[float, ...]]:
        """Returns scores that put quarantined files first, then due files, then the others by the policy."""
        scores = iter(self.policy([file for file in candidates if not file.record.is_quarantined]))

        def score(candidate: Candidate) -> tuple[float, ...]:
            record = candidate.record
            if record.is_quarantined:
                return (0, record.registered_ms)
            return (1 if record.expires_ms <= candidate.now_ms else 2, next(scores))

        return [score(candidate) for candidate in candidates]

    @property
    def _is_low(self) -> bool:
        """Whether all usages are at their low marks; other processes may have freed space too."""
        usages = measure_again(self.high, self.cleaner.roots, self.cleaner.settings)
        return not self.report.dry_run and all(usage.is_low for usage in usages)

    @property
    def _is_stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    def _account(self, deletions: Iterable[Deletion]) -> None:
        evicted = [self._batch[result.path] for result in deletions if result.outcome is Outcome.DELETED]
        for candidate in evicted:
            self.shortfall.subtract(candidate)
            self.report.freed_bytes += candidate.size_bytes
            self.report.freed_files += candidate.files
        self.report.evicted += len(evicted)
        if self.names:
            self.report.files += evicted
        if evicted and not self.report.dry_run:
            self._tried.difference_update(candidate.record.path for candidate in evicted)
            self._count(evicted)

    def _count(self, evicted: Sequence[Candidate]) -> None:
        """Called after each batch, so that a process that dies loses the count of one batch at most."""
        freed = sum(candidate.size_bytes for candidate in evicted)
        try:
            self.registry.observe({"evicted": len(evicted), "evicted_bytes": freed})
        except RegistryFull as exc:
            logger.warning("The evicted files were not counted: %s", exc)
