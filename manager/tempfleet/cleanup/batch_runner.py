"""
One batch: claim its files, ask the plug-ins, delete the files, settle the claim, remove empty parents.

All of it happens on a thread of the batch. The caller's thread only waits, because a signal handler may raise an
exception there at any instruction: KeyboardInterrupt, SystemExit, Celery's soft time limit. Between a claim and its
settling, such an exception would leave files leased until the lease ends.

If a batch ends early (an expired lease, a stop, an exception of any kind), the files that were not started are handed
back at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ..deletion import Deleter, Quarantined, log, parents_of, remove_empty
from ..errors import RegistryError
from ..filesystem import Roots
from ..logs import logger, printable
from ..plugins import Hooks
from ..records import GONE, KEPT, Deletion, FileRecord, Outcome
from ..registry import Claim, Fleet, Nack, Registry
from ..settings import MAX_BATCH, Settings
from ..threads import SignalSafeCall
from .batch import Batch, Budget, Lease
from .deletion_threads import SIGNAL_SECONDS, DeletionThreads
from .preview import Preview, unless_in_creation
from .report import CleanupReport
from .retry import RetryPolicy

THREADS_PAY_SECONDS = 0.0005
"""
A file that takes longer than this waits for its disk, and threads can wait together: on a network file system, for a
directory tree, or while a file is overwritten. On a local disk one thread unlinks faster than four, because four
contend for the interpreter lock (make bench).
"""

TIMERS = 3
"""The intervals of the timer in which a file that is due again was certainly tried again."""

Progress = Callable[[CleanupReport], None]

SMALLEST_CHUNK = 32
"""Files worth a thread: for fewer, starting a thread costs more than unlinking."""


class BatchRunner:
    """Runs the batches of one volume, one at a time or several at once."""

    def __init__(
        self,
        registry: Registry,
        roots: Roots,
        deleter: Deleter,
        hooks: Hooks,
        previews: Preview,
        settings: Settings,
    ) -> None:
        self.registry = registry
        self.roots = roots
        self.deleter = deleter
        self.hooks = hooks
        self.previews = previews
        self.beside = previews.beside
        self.settings = settings
        self.retry = RetryPolicy.of(settings)
        self._seconds_a_file = 0.0

    def run_all(
        self, batches: Iterator[Batch], budget: Budget, report: CleanupReport, progress: Progress | None
    ) -> None:
        """
        Run one batch after another, and tell *progress* of each, until the budget ends.

        Raises:
            ManagerClosed: the manager was closed meanwhile. All batches are settled.
        """
        for batch in batches:
            self.run(batch, budget, report)
            self.roots.check_open()
            if not batch.claim.records:
                continue
            report.batches += 1
            if progress is not None:
                progress(report)
            if not budget.holds():
                report.finished = False
                break

    def run(self, batch: Batch, budget: Budget, report: CleanupReport) -> None:
        """Claim and delete the files of *batch*, settle all of them, and add them to *report*."""
        call = SignalSafeCall(partial(self._run, batch, budget, report))
        try:
            call.start()
            while not (call.wait(SIGNAL_SECONDS) or batch.has_hung(call)):
                batch.extend()
        finally:
            # After a second exception in here, the thread settles the batch without us.
            batch.is_halted = True
            call.call_off()
            while not (call.wait(SIGNAL_SECONDS) or batch.has_hung(call)):
                pass
        if not call.wait(0):
            report.latest, report.latest_aside = [], []
            report.lost += len(batch.claim.records)
        self.registry.store.count_round_trips(batch.round_trips)
        if call.failure is not None:
            raise call.failure

    # -- on the thread of the batch

    def _run(self, batch: Batch, budget: Budget, report: CleanupReport) -> None:
        before = self.registry.store.round_trips
        try:
            claim, lease = batch.begin()
            if claim.records:
                self._clean(batch, lease, budget, report)
        finally:
            batch.round_trips = self.registry.store.round_trips - before

    def _clean(self, batch: Batch, lease: Lease, budget: Budget, report: CleanupReport) -> None:
        claim = batch.claim
        self.previews.promises.saw(claim.epoch)
        threads = DeletionThreads(
            batch, lease, budget, self.roots, partial(self._delete, batch), partial(self._settle_late, batch)
        )
        began = time.monotonic()
        try:
            records = self._without_promised(batch, self._without_vetoed(batch))
            began = time.monotonic()
            threads.run(records, self._chunks)
        finally:
            threads.stop()
            self._seconds_a_file = (time.monotonic() - began) * threads.widest / len(claim.records)
            try:
                self._settle(batch, threads, report)
            finally:
                self.hooks.notify_settled(batch.deletions)
        threads.raise_failure()

    def _without_vetoed(self, batch: Batch) -> Sequence[FileRecord]:
        """Returns the records that no plug-in vetoes."""
        claim = batch.claim
        vetoes = self.hooks.vetoes(claim.records)
        if not vetoes:
            return claim.records
        vetoed = [
            unless_in_creation(result, claim.now_ms, batch.cause)
            for result in self.previews.vetoed(claim.records, vetoes)
        ]
        self.deleter.audit_kept(vetoed, token=claim.token)
        batch.deletions += vetoed
        return [record for record in claim.records if record.path not in vetoes]

    def _without_promised(self, batch: Batch, records: Sequence[FileRecord]) -> Sequence[FileRecord]:
        """Returns the records that no other volume of this host promised to keep."""
        beside = batch.claim.beside
        if not beside or not records:
            return records
        obstacles = self.beside.claim(beside, records, batch.lease.beside)
        if not obstacles:
            return records
        kept = [
            unless_in_creation(result, batch.claim.now_ms, batch.cause)
            for result in self.previews.blocked(records, obstacles)
        ]
        self.deleter.audit_kept(kept, token=batch.claim.token)
        batch.deletions += kept
        return [record for record in records if record.path not in obstacles]

    def _chunks(self, records: Sequence[FileRecord]) -> Iterator[Sequence[FileRecord]]:
        threads = self.settings.threads if self._seconds_a_file > THREADS_PAY_SECONDS else 1
        size = max(-(-len(records) // threads), SMALLEST_CHUNK)
        for start in range(0, len(records), size):
            yield records[start : start + size]

    def _delete(
        self,
        batch: Batch,
        records: Sequence[FileRecord],
        may_go_on: Callable[[], bool],
        tree_seconds: Callable[[], float],
    ) -> None:
        quarantines = self.settings.quarantine_seconds > 0 and batch.cause.quarantines
        delete = self.deleter.quarantine if quarantines else self.deleter.delete
        token = batch.claim.token
        for result in delete(records, token=token, may_go_on=may_go_on, tree_seconds=tree_seconds):
            if isinstance(result, Quarantined):
                batch.quarantined.append(result)
            else:
                batch.add(unless_in_creation(result, batch.claim.now_ms, batch.cause))

    def _settle(self, batch: Batch, threads: DeletionThreads, report: CleanupReport) -> None:
        # Copies, because a thread that hung may go on at any moment.
        claim, deletions, quarantined = batch.claim, list(batch.deletions), list(batch.quarantined)
        gone = [deletion for deletion in deletions if deletion.outcome in GONE]
        nacks = [
            self.retry.decide(deletion, batch.cause, now_ms=claim.past_ms)
            for deletion in deletions
            if deletion.outcome in KEPT
        ]
        rewritten = [deletion for deletion in deletions if deletion.outcome is Outcome.REWRITTEN]
        moved = [(result.record.path, result.new) for result in quarantined]
        settled_paths = {deletion.path for deletion in deletions} | {path for path, _ in moved}
        # If their threads go on, those settle them; otherwise their lease runs out.
        hanging = threads.hanging - settled_paths
        started = settled_paths | hanging
        unstarted = [
            Nack(record.path, counts=False) for record in claim.records if record.path not in started
        ]
        settled = self.registry.ack(claim.token, gone) if gone else 0
        settled += self.registry.nack(claim.token, nacks + unstarted) if nacks or unstarted else 0
        settled += self.registry.quarantine(claim.token, moved) if moved else 0
        if rewritten:
            settled += self.registry.rewrite(claim.token, rewritten, now_ns=time.time_ns())
        batch.lease.beside.settle(
            {deletion.path for deletion in deletions if deletion.outcome is Outcome.DELETED}
            | {path for path, _ in moved}
        )
        report.add(deletions)
        self._add_unavailable(claim, deletions, nacks, report)
        report.set_aside += len(moved)
        report.latest_aside = [result.record for result in quarantined]
        report.handed_back += len(unstarted) - len(batch.postponed)
        report.lost += len(claim.records) - len(hanging) - settled
        for deletion in deletions:
            log(deletion)
        for path, _ in moved:
            logger.debug("Quarantined temporary file: %s", printable(path))
        if self.settings.remove_empty_parents:
            self._remove_empty_parents(deletions)

    def _add_unavailable(
        self, claim: Claim, deletions: Sequence[Deletion], nacks: Sequence[Nack], report: CleanupReport
    ) -> None:
        """Health shows them until they were tried again, because they are not overdue while they wait for that."""
        reasons = {
            deletion.path: deletion.reason
            for deletion in deletions
            if deletion.outcome is Outcome.UNAVAILABLE and self.roots.find(deletion.path) is not None
        }
        if reasons:
            report.unavailable.update(reasons.values())
            delay_ms = max(nack.delay_ms or 0 for nack in nacks if nack.path in reasons)
            margin_ms = int(TIMERS * self.settings.timer_interval_seconds * 1000)
            until_ms = claim.now_ms + delay_ms + margin_ms
            report.unavailable_until_ms = max(report.unavailable_until_ms, until_ms)

    def _settle_late(self, batch: Batch, path: str) -> None:
        """Settle the file *path* of a thread that hung, when it goes on after the batch was settled without it."""
        gone = [
            deletion for deletion in batch.deletions if deletion.path == path and deletion.outcome in GONE
        ]
        moved = [(done.record.path, done.new) for done in batch.quarantined if done.record.path == path]
        try:
            if gone:
                self.registry.ack(batch.claim.token, gone)
            elif moved:
                self.registry.quarantine(batch.claim.token, moved)
            else:
                self.registry.nack(batch.claim.token, [Nack(path, counts=False)])
        except RegistryError as exc:
            logger.debug("%s is left to the end of its lease: %s", printable(path), exc)

    def _remove_empty_parents(self, deletions: Sequence[Deletion]) -> None:
        """
        Removes only directories that are not registered, in no volume of this host, and are not the base directory of a
        volume.
        """
        paths = [deletion.path for deletion in deletions if deletion.outcome is Outcome.DELETED]
        parents = list(dict.fromkeys(parent for path in paths for parent in parents_of(path, self.roots)))
        if not parents:
            return
        fleet = Fleet(self.registry.store)
        volumes = fleet.volumes()
        kept = {volume.base_dir for volume in volumes}
        ours = [volume for volume in volumes if volume.host == self.registry.volume.host]
        for start in range(0, len(parents), MAX_BATCH):
            for files in fleet.inside(ours, parents[start : start + MAX_BATCH]).values():
                if isinstance(files, RegistryError):
                    logger.warning(
                        "Empty directories stay, because a registry of this host is unreadable: %s", files
                    )
                    return
                kept.update(inside.path for inside in files)
        for path in remove_empty([parent for parent in parents if parent not in kept], self.roots):
            logger.debug("Removed empty directory: %s", printable(path))
