"""
Chooses files (due, named, all or matching), and cleans them batch by batch. The library, the console and the tasks all
use this class.

The claim, the deletion and the ack happen in one process, so no file can be lost in a message between them. A process
that dies here loses nothing: its lease runs out and reap() returns the batch. If the budget, a stop or an exception of
any kind ends a batch early, the files that were not started are handed back at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial

from ..deletion import Deleter
from ..errors import VolumeUnavailable
from ..filesystem import Roots
from ..logs import logger, printable
from ..plugins import Hooks, Plugin
from ..reconciliation import InterruptedMoves, confirm_disks
from ..records import Deletion, FileRecord, State
from ..registry import Claim, Horizon, Registry
from ..settings import Settings
from .batch import Batch, Budget, named_batches
from .batch_runner import BatchRunner, Progress
from .cause import Cause
from .clock_watch import ClockWatch
from .host_clock import HostClock, host_clock_of
from .nested import NestedPromises
from .preview import Preview, is_due
from .report import CleanupReport


class Cleaner:
    """
    Deletes files of one volume.

    Thread-safe. Two cleaners of one volume, also in different processes, never hold the same file.
    """

    def __init__(
        self,
        registry: Registry,
        roots: Roots,
        settings: Settings,
        plugins: Sequence[Plugin] = (),
        host_clock: HostClock | None = None,
    ) -> None:
        self.registry = registry
        self.clock = ClockWatch(registry, roots, host_clock or host_clock_of(registry.store.clock))
        self.hooks = Hooks(plugins, registry, settings)
        self.roots = roots
        self.promises = NestedPromises(registry, lease_ms=settings.lease_ms, horizon=self.clock.horizon)
        self.deleter = Deleter(roots, settings, self.promises)
        self.interrupted_moves = InterruptedMoves(registry, self.deleter)
        self.previews = Preview(registry, self.deleter, self.promises, self.hooks, settings)
        self.settings = settings
        self.runner = BatchRunner(registry, roots, self.deleter, self.hooks, self.previews, settings)
        self._disk_confirmed, self._recovered_ever = False, 0

    def clean_due(
        self,
        *,
        budget_seconds: float | None = None,
        stop: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> CleanupReport:
        """
        Reap, then delete until no file is due, the budget ends or *stop* is set.

        Args:
            budget_seconds: None for no limit.

        Raises:
            VolumeUnavailable: the volume is not available to this process; no file was claimed.
            RegistryUnavailable: Redis does not answer. Files that were deleted but not acked are missing at their next
                claim.
        """
        limit, lease_ms = self.settings.batch_size, self.settings.lease_ms
        take = partial(self.registry.claim, limit=limit, lease_ms=lease_ms)

        def batches() -> Iterator[Batch]:
            is_empty = False
            while not is_empty:
                yield (batch := self._batch(take, Cause.EXPIRED))
                is_empty = not batch.claim.records

        self.check_volume()
        return self._clean(batches(), budget_seconds, stop, progress, recovered=self._reap(), is_pass=True)

    def clean_paths(
        self,
        pages: Iterable[list[str]],
        cause: Cause,
        *,
        until_ms: int,
        due: bool = False,
        stop: threading.Event | None = None,
        progress: Progress | None = None,
        recovered: int = 0,
    ) -> CleanupReport:
        """
        Delete the named files for *cause*, also those not due unless *due*, each at most once. Only files that wait
        and were registered at or before *until_ms*, not held, leased or dead ones. Raises as ``clean_due`` does.
        """
        take = partial(
            self.registry.claim_paths,
            lease_ms=self.settings.lease_ms,
            until_ms=until_ms,
            quarantined=cause.claims_quarantined,
            due=due,
        )
        return self._clean_named(pages, cause, take, stop=stop, progress=progress, recovered=recovered)

    def clean_own(
        self, files: Mapping[str, int], cause: Cause, *, budget_seconds: float | None = None
    ) -> CleanupReport:
        """
        Delete the files that the caller registered: path -> ``registered_ms`` of its last registration. A file that
        another registrant registered, renewed or held stays, like held, leased and dead ones. Raises as ``clean_due``
        does.
        """

        def take(paths: Sequence[str], *, horizon: Horizon) -> Claim:
            own = {path: files[path] for path in paths}
            return self.registry.claim_own(own, lease_ms=self.settings.lease_ms, horizon=horizon)

        return self._clean_named([list(files)], cause, take, budget_seconds=budget_seconds)

    def clean_all(
        self, *, stop: threading.Event | None = None, progress: Progress | None = None
    ) -> CleanupReport:
        """
        Delete all waiting files that were registered before this call, due or not, each at most once. Held files stay,
        and quarantined files stay until their quarantine ends. Raises as ``clean_due`` does.
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
        As ``clean_due`` for the cause EXPIRED, and as ``clean_all`` for any other, but only *wanted* files. Reads every
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
            pages(),
            cause,
            until_ms=now_ms,
            due=cause is Cause.EXPIRED,
            stop=stop,
            progress=progress,
            recovered=recovered,
        )

    def preview(self, wanted: Callable[[FileRecord], bool], cause: Cause) -> Iterator[Deletion]:
        """Yields what ``clean_matching`` would do to each file now; changes nothing."""
        self.check_volume(fresh=True)
        return self.previews.matching(wanted, cause, self.clock.outlook())

    def prepare(self) -> None:
        """
        Create the private directories while there is room. Called by the process that serves a host.

        Not in the system's temp directory, unless the settings name it: it may never contain a registered file.
        """
        self.roots.take_up()
        for root in self.roots if self.settings.allowed_roots else [self.roots.base]:
            with suppress(VolumeUnavailable):
                root.calls.ask(root.private.prepare)

    def check_volume(self, *, fresh: bool = False) -> None:
        """
        Args:
            fresh: compare the disks again. A clean-up does so with each claim.

        Raises:
            VolumeUnavailable: the base directory is not available to this process, or it is another one now.
            ManagerClosed: the manager was closed.
        """
        self.roots.check_open()
        if reason := (base := self.roots.base).moved():
            why = f"is not available ({reason}). No file was claimed and no record was changed."
            raise VolumeUnavailable(f"{printable(base.path)} {why}", base_dir=base.path, reason=reason)
        if fresh or not self._disk_confirmed:
            confirm_disks(self.registry.stats(), self.roots)
            # The directory stays open, so from now on base.moved() notices any change. Claims compare the disks again.
            self._disk_confirmed = True

    def recover_interrupted(self) -> None:
        """
        Give the files their names back that an interrupted clean-up left in a private directory.

        Raises:
            VolumeUnavailable, ManagerClosed: as ``check_volume``.
        """
        self.check_volume()
        with self.roots.use():
            self.interrupted_moves.recover(lambda: True, self._recovered_ever)

    # -- inside

    def _clean_named(
        self,
        pages: Iterable[list[str]],
        cause: Cause,
        take: Callable[..., Claim],
        *,
        budget_seconds: float | None = None,
        stop: threading.Event | None = None,
        progress: Progress | None = None,
        recovered: int = 0,
    ) -> CleanupReport:
        """Clean the files that *take* claims of the named ones, each at most once."""

        def batch_of(paths: Sequence[str]) -> Batch:
            return self._batch(partial(take, paths), cause)

        self.check_volume()
        batches = named_batches(pages, batch_of, limit=self.settings.batch_size)
        return self._clean(batches, budget_seconds, stop, progress, recovered=recovered)

    def _batch(self, take: Callable[..., Claim], cause: Cause) -> Batch:
        """A batch of the files that *take* claims when the batch begins."""
        return Batch(partial(self.clock.claim, take), self.registry, cause, self.settings.lease_ms)

    def _clean(
        self,
        batches: Iterator[Batch],
        budget_seconds: float | None,
        stop: threading.Event | None,
        progress: Progress | None,
        *,
        recovered: int,
        is_pass: bool = False,
    ) -> CleanupReport:
        # If a directory is so large that looking at it takes too long, the next budget is twice as long.
        seconds = None if budget_seconds is None else budget_seconds * self.promises.patience
        began, budget = time.monotonic(), Budget(seconds, stop)
        round_trips = self.registry.store.round_trips
        report = CleanupReport(recovered=recovered)
        with self.roots.use():
            self.interrupted_moves.recover(budget.holds, self._recovered_ever)
            self.runner.run_all(batches, budget, report, progress)
        report.seconds = time.monotonic() - began
        self.clock.save(create=True)
        round_trips = self.registry.store.round_trips - round_trips
        report.record(self.registry, round_trips=round_trips, is_pass=is_pass)
        self.hooks.publish()
        return report

    def _reap(self) -> int:
        with self.roots.use():
            self.clock.start()
        recovered, more = 0, True
        while more:
            reaped = self.registry.reap(horizon=self.clock.horizon())
            recovered, more = recovered + reaped.recovered, reaped.more
            self._recovered_ever = reaped.recovered_ever
        if recovered:
            logger.info("Recovered %d files from claims that had run out", recovered)
        return recovered
