"""
The engine: claim, delete, settle, batch by batch. The library, the console and the tasks all run this one.

The pop, the deletion and the ack happen in this process, so nothing can be lost between a pop and a message. A
process that dies here loses nothing: its lease runs out and reap() returns the batch. Whatever ends a batch early
(the budget, a stop, an exception of any kind) hands back what was not started, at once.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from ..deletion import Deleter
from ..errors import RegistryFull, VolumeUnavailable
from ..filesystem import Roots
from ..logs import logger, printable
from ..plugins import Hooks, Plugin
from ..reconciliation import InterruptedMoves, confirm_disk
from ..records import Deletion, FileRecord, Outcome, State
from ..registry import Registry
from ..settings import Settings
from .batch import Batch, Lease
from .batch_run import BatchRunner
from .cause import Cause
from .preview import Preview, is_due
from .report import CleanupReport

Progress = Callable[[CleanupReport], None]


class Cleaner:
    """
    Deletes what is due in one volume, or what is named.

    Thread-safe; two cleaners of one volume, in whatever processes, never hold the same file.
    """

    def __init__(
        self, registry: Registry, roots: Roots, settings: Settings, plugins: Sequence[Plugin] = ()
    ) -> None:
        self.registry = registry
        self.hooks = Hooks(plugins, registry, settings)
        self.roots = roots
        self.deleter = Deleter(roots, settings)
        self.interrupted_moves = InterruptedMoves(registry, roots, self.deleter)
        self.previews = Preview(registry, self.deleter, self.hooks, settings)
        self.settings = settings
        self.runner = BatchRunner(registry, roots, self.deleter, self.hooks, self.previews, settings)
        self._disk_confirmed = False

    def clean_due(
        self,
        *,
        budget_seconds: float | None = None,
        stop: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> CleanupReport:
        """
        Reap, then delete until nothing is due, the budget ends or *stop* is set.

        Args:
            budget_seconds: None for no end.

        Raises:
            VolumeUnavailable: this process has not got the volume; nothing was claimed.
            RegistryUnavailable: Redis went away. What was deleted and not acked is found missing later.
        """
        limit, lease_ms = self.settings.batch_size, self.settings.lease_ms

        def batches() -> Iterator[Batch]:
            while True:
                lease = Lease(self.registry, lease_ms=lease_ms)
                claim = self.registry.claim(limit=limit, lease_ms=lease_ms)
                if not claim.records:
                    return
                yield Batch(claim, lease, Cause.EXPIRED)

        self.check_volume()
        return self._clean(batches(), budget_seconds, stop, progress, recovered=self._reap())

    def clean_paths(
        self,
        pages: Iterable[list[str]],
        cause: Cause,
        *,
        until_ms: int,
        stop: threading.Event | None = None,
        progress: Progress | None = None,
        recovered: int = 0,
    ) -> CleanupReport:
        """
        Delete the named files, due or not, each at most once: those that wait, and were registered at or before
        *until_ms*. Held, leased and dead ones are left alone. Raises as ``clean_due`` does.
        """
        limit, lease_ms = self.settings.batch_size, self.settings.lease_ms

        def batches() -> Iterator[Batch]:
            tried: set[str] = set()  # and not gone: what is gone cannot come again
            for page in pages:
                fresh = [path for path in page if path not in tried]
                for start in range(0, len(fresh), limit):
                    lease = Lease(self.registry, lease_ms=lease_ms)
                    part = fresh[start : start + limit]
                    claim = self.registry.claim_paths(
                        part, lease_ms=lease_ms, until_ms=until_ms, quarantined=cause.claims_quarantined
                    )
                    if claim.records:
                        batch = Batch(claim, lease, cause)
                        yield batch
                        tried |= batch.waits_again()

        self.check_volume()
        return self._clean(batches(), None, stop, progress, recovered=recovered)

    def clean_all(
        self, *, stop: threading.Event | None = None, progress: Progress | None = None
    ) -> CleanupReport:
        """
        Delete everything that waits, due or not: what was registered before this call began, each file at most
        once, held ones never, what is in quarantine only when its grace period ends. Raises as ``clean_due`` does.
        """
        recovered = self._reap()
        pages = self.registry.waiting_paths(page=self.settings.batch_size)
        return self.clean_paths(
            pages,
            Cause.FORCED,
            until_ms=self.registry.now_ms(),
            stop=stop,
            progress=progress,
            recovered=recovered,
        )

    def clean_matching(
        self,
        wanted: Callable[[FileRecord], bool],
        cause: Cause,
        *,
        stop: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> CleanupReport:
        """
        As ``clean_due``, or for another cause than EXPIRED as ``clean_all``, but only *wanted* files. Reads every
        waiting record.
        """
        recovered = self._reap()
        now_ms = self.registry.now_ms()

        def pages() -> Iterator[list[str]]:
            for page in self.registry.waiting_paths(page=self.settings.batch_size):
                _, records = self.registry.read(page)
                yield [
                    record.path
                    for record in records
                    if record is not None
                    and record.state is State.WAITING
                    and (cause is not Cause.EXPIRED or is_due(record, now_ms))
                    and wanted(record)
                ]

        return self.clean_paths(
            pages(), cause, until_ms=now_ms, stop=stop, progress=progress, recovered=recovered
        )

    def preview(
        self, cause: Cause, wanted: Callable[[FileRecord], bool] = lambda _: True
    ) -> Iterator[Deletion]:
        """Returns what clean_due(), clean_all() or clean_matching() would do to each file now; changes nothing."""
        self.check_volume()
        return self.previews.matching(wanted, cause)

    def prepare(self) -> None:
        """
        Make the private directories while there is room: on a disk without a free inode no file that a caller named
        could be deleted safely for want of one. For who serves a host; where it fails, deleting tells why.

        Not in the system's temp directory, unless somebody named it: there may never be a file of ours.
        """
        asked_for = list(self.roots) if self.settings.allowed_roots else [self.roots.base]
        for root in asked_for:
            try:
                root.private.open()
            except OSError as exc:
                logger.debug("No private directory under %s: %s", printable(root.path), exc)

    def check_volume(self) -> None:
        """
        Raises:
            VolumeUnavailable: this process has not got the base directory, or it is another one now.
        """
        base = self.roots.base.path
        missing = self.roots.check()
        if base in missing:
            raise VolumeUnavailable(
                f"{printable(base)} is not available ({missing[base]}); nothing was claimed, its records stay.",
                base_dir=base,
                reason=missing[base],
            )
        if not self._disk_confirmed:
            confirm_disk(self.registry.stats(), self.roots)
            self._disk_confirmed = True  # it is held open: from here on check() tells

    # -- inside

    def _clean(
        self,
        batches: Iterator[Batch],
        budget_seconds: float | None,
        stop: threading.Event | None,
        progress: Progress | None,
        *,
        recovered: int,
    ) -> CleanupReport:
        began = time.monotonic()
        end = math.inf if budget_seconds is None else began + budget_seconds

        def may_start() -> bool:
            return time.monotonic() < end and not (stop is not None and stop.is_set())

        asked = self.registry.store.round_trips
        self.interrupted_moves.recover(may_start)
        report = CleanupReport(recovered=recovered)
        for batch in batches:
            self.runner.run(batch, may_start, report)
            report.batches += 1
            if progress is not None:
                progress(report)
            if not may_start():
                report.finished = False
                break
        report.seconds = time.monotonic() - began
        self._tell(report, round_trips=self.registry.store.round_trips - asked)
        self.hooks.publish()
        return report

    def _reap(self) -> int:
        recovered, more = 0, True
        while more:
            reaped = self.registry.reap()
            recovered, more = recovered + reaped.recovered, reaped.more
        if recovered:
            logger.info("Recovered %d files from claims that had died", recovered)
        return recovered

    def _tell(self, report: CleanupReport, *, round_trips: int) -> None:
        totals = {"cleanups": 1, "round_trips": round_trips}
        try:
            self.registry.observe(totals, histogram="duration", seconds=report.seconds)
        except RegistryFull as exc:
            logger.warning("The clean-up was not counted: %s", exc)
        if sum(report.counts.values()) or report.set_aside:
            logger.info(
                "Cleaned up %d temporary files (%d set aside, %d missing, %d replaced, %d kept) in %.2f s",
                report.deleted,
                report.set_aside,
                report.counts[Outcome.MISSING],
                report.counts[Outcome.REPLACED],
                report.kept,
                report.seconds,
            )
