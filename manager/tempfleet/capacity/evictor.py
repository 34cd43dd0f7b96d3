"""
Making room on a disk that is too full: files go before their deadlines, in the order of a policy.

Above the high mark it begins, and goes down to the low one; between the marks nothing happens, so it does not flap.
Where everything went that could, and the disk is too full still, that is told once and degrades health, and a timer
tries again ever more rarely: a choice looks at every record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Event

from ..cleanup import Cleaner
from ..errors import PluginFailed, RegistryFull
from ..filesystem import Roots
from ..logs import logger
from ..plugins import Order
from ..registry import FULL, VolumeStats
from ..settings import Settings
from .eviction_pass import EvictionPass, EvictionReport
from .usage import DiskUsage, again, is_watched, readings

LONGEST_WAIT = 16
"""Intervals of the timer between two passes that free nothing."""


class Evictor:
    """
    Evicts the files of one volume.

    Two evictors of one volume never delete a file twice; what they choose at one moment may free more than was
    wanted, by a batch each.
    """

    def __init__(self, cleaner: Cleaner, order: Order) -> None:
        self.cleaner = cleaner
        self.order = order
        self.settings = cleaner.settings
        self.wait = Backoff(self.settings.timer_interval_seconds)
        self._known_stuck: bool | None = None

    def evict(
        self,
        *,
        dry_run: bool = False,
        names: bool = False,
        stop: Event | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> EvictionReport:
        """
        Bring every file system of this volume that is above its high mark down to the low one, if its files can.

        Args:
            dry_run: change nothing; what the report has in ``files`` is what evicting would delete now.
            names: fill ``files``.
            progress: told after each batch how many files went so far.

        Raises:
            VolumeUnavailable, RegistryUnavailable: as ``Cleaner.clean_due``.
        """
        began = time.monotonic()
        self.cleaner.check_volume()
        report = EvictionReport(dry_run)
        for device in dict.fromkeys(reading.device for reading in self._high()):
            above = [reading for reading in self._high() if reading.device == device]
            if above:  # unless one file system made room for all: several may lie in one memory
                report.before += above
                EvictionPass(
                    self.cleaner,
                    self.order,
                    above,
                    report,
                    names=names or dry_run,
                    stop=stop,
                    progress=progress,
                ).run()
        report.after = again(report.before, self.cleaner.roots, self.settings)
        report.seconds = time.monotonic() - began
        if not dry_run:
            self._tell(report)
        return report

    def watch(self, *, stop: Event | None = None) -> EvictionReport | None:
        """
        What a timer calls: as ``evict``, where there is need. After a pass that freed nothing it waits, longer each
        time. None where nothing was tried.

        Raises:
            PluginFailed: the policy is a plug-in's, and gave no order; nothing more went.
        """
        if not is_watched(self.settings):
            return None
        if not self._high():
            self.wait.end()
            self._note(stuck=False)
            return None
        if not self.wait.is_over:
            return None
        try:
            report = self.evict(stop=stop)
        except PluginFailed:  # its policy gave no order, so nothing can go
            self.wait.longer()
            self._note(stuck=True)
            raise
        if report.is_stuck and not report.evicted:
            self.wait.longer()
        else:
            self.wait.end()
        return report

    def _high(self) -> list[DiskUsage]:
        return [reading for reading in readings(self.cleaner.roots, self.settings) if reading.is_high]

    def _tell(self, report: EvictionReport) -> None:
        if report.evicted:
            logger.info(
                "Evicted %d temporary files: wanted to free %d bytes and %d inodes, freed %d bytes and %d inodes; %s",
                report.evicted, report.wanted_bytes, report.wanted_files, report.freed_bytes, report.freed_files,
                "; ".join(map(str, report.after)),
            )  # fmt: skip
        if report.is_stuck and not self._known_stuck:
            high = "; ".join(str(reading) for reading in report.after if reading.is_high)
            logger.warning("Nothing more can be evicted, and %s", high)
        if is_watched(self.settings):
            self._note(stuck=report.is_stuck)

    def _note(self, *, stuck: bool) -> None:
        """Write it down where it changed, so that a volume that never had a file keeps no key."""
        registry = self.cleaner.registry
        if self._known_stuck is None:
            self._known_stuck = bool(registry.stats().meta.get(FULL))
        if stuck is self._known_stuck:
            return
        self._known_stuck = stuck
        try:
            registry.mark_full(stuck)
        except RegistryFull as exc:
            self._known_stuck = None
            logger.warning("Whether the disk is too full was not noted: %s", exc)


class Backoff:
    """Between passes that free nothing: doubles, from one interval of the timer to sixteen."""

    def __init__(self, interval_seconds: float) -> None:
        self.interval_seconds = interval_seconds
        self.intervals = 0
        self._until = 0.0

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._until

    def longer(self) -> None:
        self.intervals = min(max(self.intervals * 2, 1), LONGEST_WAIT)
        self._until = time.monotonic() + self.intervals * self.interval_seconds

    def end(self) -> None:
        self.intervals, self._until = 0, 0.0


def warnings(roots: Roots, settings: Settings, stats: VolumeStats) -> Iterator[str]:
    """What is above its high mark still, where the last eviction found nothing more that could go."""
    if stats.meta.get(FULL):
        for reading in readings(roots, settings):
            if reading.is_high:
                yield f"{reading}, more than {reading.above} %, and nothing more can be evicted"
