"""
Eviction: on a disk that is too full, files are deleted before their deadlines, in the order of a policy.

Eviction starts above the high mark and frees down to the low mark. Between the marks nothing happens, so eviction does
not flap. If the disk is still too full after every possible file was deleted, a warning is logged once and health is
degraded. The timer then tries again less and less often, because each selection reads every record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Event

from ..cleanup import Cleaner
from ..errors import PluginFailed, RegistryFull
from ..filesystem import Roots
from ..logs import logger
from ..plugins import Policy
from ..registry import FULL, VolumeStats
from ..settings import Settings
from .eviction_pass import EvictionPass, EvictionReport
from .usage import DiskUsage, disk_usages, is_watched, measure_again

LONGEST_WAIT = 16
"""The most timer intervals between two passes that free nothing."""


class Evictor:
    """
    Evicts files of one volume.

    Two evictors of one volume never delete a file twice. If they run at the same moment, each may free one batch more
    than needed.
    """

    def __init__(self, cleaner: Cleaner, policy: Policy) -> None:
        self.cleaner = cleaner
        self.policy = policy
        self.settings = cleaner.settings
        self.backoff = Backoff(self.settings.timer_interval_seconds)
        self._recorded_stuck: bool | None = None

    def evict(
        self,
        *,
        dry_run: bool = False,
        names: bool = False,
        stop: Event | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> EvictionReport:
        """
        Bring every file system of this volume that is above its high mark down to its low mark, as far as possible.

        Args:
            dry_run: change nothing; ``files`` of the report lists the files that an eviction would delete now.
            names: fill ``files``.
            progress: called after each batch with the number of deleted files so far.

        Raises:
            VolumeUnavailable, RegistryUnavailable: as ``Cleaner.clean_due``.
        """
        began = time.monotonic()
        self.cleaner.check_volume()
        report = EvictionReport(dry_run)
        for device in dict.fromkeys(usage.device for usage in self._high()):
            # Measured again, because several file systems may lie in the same memory: one pass frees space for all.
            if high := [usage for usage in self._high() if usage.device == device]:
                report.before += high
                EvictionPass(
                    self.cleaner,
                    self.policy,
                    high,
                    report,
                    names=names or dry_run,
                    stop=stop,
                    progress=progress,
                ).run()
        report.after = measure_again(report.before, self.cleaner.roots, self.settings)
        report.seconds = time.monotonic() - began
        if not dry_run:
            self._log_and_record(report)
        return report

    def watch(self, *, stop: Event | None = None) -> EvictionReport | None:
        """
        Evict if a usage is above its high mark; called by a timer. After a pass that freed nothing, the next pass
        waits, longer each time. Returns None if no pass was made.

        Raises:
            PluginFailed: the policy belongs to a plug-in that failed to score the files; no other file was deleted.
        """
        if not is_watched(self.settings):
            return None
        if not self._high():
            self.backoff.reset()
            self._record_stuck(stuck=False)
            return None
        if not self.backoff.is_over:
            return None
        try:
            report = self.evict(stop=stop)
        except PluginFailed:
            # No file has a score, so none can be evicted.
            self.backoff.lengthen()
            self._record_stuck(stuck=True)
            raise
        if report.is_stuck and not report.evicted:
            self.backoff.lengthen()
        else:
            self.backoff.reset()
        return report

    def _high(self) -> list[DiskUsage]:
        return [usage for usage in disk_usages(self.cleaner.roots, self.settings) if usage.is_high]

    def _log_and_record(self, report: EvictionReport) -> None:
        if report.evicted:
            logger.info(
                "Evicted %d temporary files: wanted to free %d bytes and %d inodes, freed %d bytes and %d inodes; %s",
                report.evicted,
                report.wanted_bytes,
                report.wanted_files,
                report.freed_bytes,
                report.freed_files,
                "; ".join(map(str, report.after)),
            )
        if report.is_stuck and not self._recorded_stuck:
            high = "; ".join(str(usage) for usage in report.after if usage.is_high)
            logger.warning("Nothing more can be evicted, and %s", high)
        if is_watched(self.settings):
            self._record_stuck(stuck=report.is_stuck)

    def _record_stuck(self, *, stuck: bool) -> None:
        """Write to the registry only if it changed, so that a volume that never had a file keeps no key."""
        registry = self.cleaner.registry
        if self._recorded_stuck is None:
            self._recorded_stuck = bool(registry.stats().meta.get(FULL))
        if stuck is self._recorded_stuck:
            return
        self._recorded_stuck = stuck
        try:
            registry.set_meta(FULL, "1" if stuck else "")
        except RegistryFull as exc:
            self._recorded_stuck = None
            logger.warning("Whether the disk is too full was not recorded: %s", exc)


class Backoff:
    """The wait between passes that free nothing: doubles from one timer interval to sixteen."""

    def __init__(self, interval_seconds: float) -> None:
        self.interval_seconds = interval_seconds
        self.intervals = 0
        self._until = 0.0

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._until

    def lengthen(self) -> None:
        self.intervals = min(max(self.intervals * 2, 1), LONGEST_WAIT)
        self._until = time.monotonic() + self.intervals * self.interval_seconds

    def reset(self) -> None:
        self.intervals, self._until = 0, 0.0


def eviction_warnings(roots: Roots, settings: Settings, stats: VolumeStats) -> Iterator[str]:
    """Returns the usages above their high marks, if the last eviction found no other file to delete."""
    if stats.meta.get(FULL):
        for usage in disk_usages(roots, settings):
            if usage.is_high:
                yield f"{usage}, more than {usage.above} %, and nothing more can be evicted"
