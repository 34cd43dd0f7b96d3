"""
Makes room for registrations over a limit (TEMP_FILE_QUOTA=evict): deletes files of the same registrant.

A registrant is identified by its tags: files that share a tag with the new file, or have no tag if it has none. So a
registrant that registers too much harms no other. Files go in the order of the eviction policy; files whose deletion
failed before go last. Held files, files in use and quarantined files stay.

Several processes make room at once, choose the same files, and take each other's room. So a call searches again until
its files are registered, until no file is left that could be deleted, or for PATIENCE_SECONDS. It tries no file twice.
If others are deleting files of the registrant at that moment, it waits for them.

A search reads every record. If a long search finds nothing to delete, the next one waits ten times as long as this one
took; until then the registrant is rejected without a search, unless a hold ends or a dead letter is revived.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..cleanup import Cause, Cleaner, CleanupReport
from ..errors import PluginFailed
from ..logs import logger
from ..plugins import Candidate, Policy
from ..records import GONE, KEPT, FileRecord, NewFile, Outcome, State
from ..registry import VolumeStats
from .selection import Shortfall, choose

PATIENCE_SECONDS = 10.0
"""The longest time for which one call makes room."""

SHORTEST_WAIT, LONGEST_WAIT = 0.005, 0.2
"""Seconds between two looks while others delete files; each wait is twice as long as the one before."""

MOST_REPEATS = 8
"""Searches that are repeated because files moved meanwhile."""

LONG_SEARCH_FILES = 1000
PAUSE_FACTOR = 10
"""If a search read more than LONG_SEARCH_FILES and found nothing, no other starts for ten times as long as it took."""

MOST_PAUSED = 1000
"""Registrants whose pause is remembered."""

Registrant = tuple[str, frozenset[str]]
"""The limit that it exceeds, and its tags."""

Unavailable = tuple[int, int]
"""The numbers of held files and of dead letters."""


def unavailable_of(stats: VolumeStats) -> Unavailable:
    return stats.held, stats.dead


@dataclass(frozen=True, slots=True)
class Shortage:
    """
    The files over one limit.

    Attributes:
        limit: the name of the limit, and its tag if it has one.
        most: what it allows.
    """

    limit: str
    most: int
    files: Sequence[NewFile]

    @property
    def registrant(self) -> Registrant:
        return self.limit, frozenset(tag for file in self.files for tag in file.tags)

    @property
    def shortfall(self) -> Shortfall:
        """The size of the files plus a twentieth of the limit, so that not every call has to make room."""
        reserve = self.most // 20
        if "bytes" in self.limit.partition(":")[0]:
            return Shortfall(bytes=sum(file.size_bytes for file in self.files) + reserve)
        return Shortfall(files=len(self.files) + reserve)


class RoomMaker:
    """Deletes files for all registrations of one volume in this process, and remembers which searches were in vain."""

    def __init__(self, cleaner: Cleaner, policy: Policy) -> None:
        self.cleaner = cleaner
        self.policy = policy
        self._paused: dict[Registrant, tuple[float, Unavailable]] = {}

    def is_paused(self, registrant: Registrant) -> bool:
        """Asks the registry during a pause only: what may not be deleted then may be deleted now."""
        until, unavailable = self._paused.get(registrant, (0, (0, 0)))
        return time.monotonic() < until and unavailable == unavailable_of(self.cleaner.registry.stats())

    def pause(self, searches: Mapping[Registrant, float], unavailable: Unavailable) -> None:
        """
        Pause the registrants whose long searches found nothing.

        Args:
            searches: the seconds that each took.
            unavailable: before the searches.
        """
        if len(self._paused) >= MOST_PAUSED:
            self._paused.clear()
        now = time.monotonic()
        self._paused |= {who: (now + PAUSE_FACTOR * took, unavailable) for who, took in searches.items()}


class Room:
    """
    The room for the files of one call.

    Args:
        ours: the paths of the call. They are not deleted.
    """

    def __init__(self, maker: RoomMaker, ours: set[str]) -> None:
        self.maker = maker
        self.cleaner = maker.cleaner
        self.registry = maker.cleaner.registry
        # Files of the call, and files that could not be deleted for it.
        self._passed_over = set(ours)
        self._wait = SHORTEST_WAIT
        self._ends = time.monotonic() + PATIENCE_SECONDS
        self._files_read = 0
        self._counts: tuple[int, ...] = ()
        self._repeats = 0

    def make(self, shortages: Sequence[Shortage]) -> bool:
        """Delete files, or wait while others do. Returns False if there is no use in trying again."""
        searched = [shortage for shortage in shortages if not self.maker.is_paused(shortage.registrant)]
        if not searched or time.monotonic() >= self._ends:
            return False
        long_searches: dict[Registrant, float] = {}
        unavailable = unavailable_of(self.registry.stats())
        try:
            paths = self._choose(searched, long_searches)
        except PluginFailed as exc:
            logger.warning("No room was made: %s", exc)
            return False
        if paths:
            if not self._delete(paths):
                self._sleep()  # others were faster, or all of these files are in use
            return True
        files = [file for shortage in searched for file in shortage.files]
        if self._reap() or self._are_leaving(files) or self._may_have_missed_some():
            self._sleep()
            return True
        self.maker.pause(long_searches, unavailable)
        return False

    def _choose(self, shortages: Sequence[Shortage], long_searches: dict[Registrant, float]) -> list[str]:
        paths: dict[str, None] = {}
        for shortage in shortages:
            began, self._files_read = time.monotonic(), 0
            chosen = choose(self._candidates(shortage.files), self._scores, shortage.shortfall)
            paths.update(dict.fromkeys(candidate.record.path for candidate in chosen))
            if self._files_read > LONG_SEARCH_FILES:
                long_searches[shortage.registrant] = time.monotonic() - began
        return list(paths)

    def _delete(self, paths: list[str]) -> bool:
        """
        Returns whether a file counts no longer: it was deleted or quarantined, or it was missing. Or it was rewritten;
        then it can be deleted the next time.
        """

        def pass_over(report: CleanupReport) -> None:
            kept = (deletion.path for deletion in report.latest if deletion.outcome in KEPT)
            self._passed_over.update(kept)

        until_ms = self.registry.now_ms()
        report = self.cleaner.clean_paths([paths], Cause.QUOTA, until_ms=until_ms, progress=pass_over)
        logger.info(
            "Made room: chose %d files, deleted %d and freed %d bytes",
            len(paths),
            report.deleted,
            report.freed_bytes,
        )
        return any(report.counts[outcome] for outcome in (*GONE, Outcome.REWRITTEN)) or report.set_aside > 0

    def _reap(self) -> bool:
        """Returns whether files wait again: their hold has ended, or the process that claimed them is gone."""
        reaped = self.registry.reap()
        return bool(reaped.recovered or reaped.unheld)

    def _are_leaving(self, files: Sequence[NewFile]) -> bool:
        """Whether files of the same registrants are being deleted now."""
        for page in self.registry.leased_paths():
            _, records = self.registry.read(page)
            if any(
                record is not None and record.state is State.LEASED and _is_of_registrant(record, files)
                for record in records
            ):
                return True
        return False

    def _may_have_missed_some(self) -> bool:
        """
        Whether files moved while the last search looked for them: those that it began with may be gone, and others may
        have taken their room. MOST_REPEATS at most, because the files of other registrants move, too.
        """
        stats = self.registry.stats()
        counts = (stats.total("claimed"), stats.total("registered"), stats.waiting, stats.held)
        has_moved, self._counts = counts != self._counts, counts
        self._repeats += 1
        return has_moved and self._repeats <= MOST_REPEATS

    def _sleep(self) -> None:
        time.sleep(self._wait * random.uniform(0.5, 1))
        self._wait = min(2 * self._wait, LONGEST_WAIT)

    def _scores(self, candidates: Sequence[Candidate]) -> list[tuple[float, ...]]:
        scores = self.maker.policy(candidates)
        return [(min(file.record.attempts, 1), score) for file, score in zip(candidates, scores, strict=True)]

    def _candidates(self, files: Sequence[NewFile]) -> Iterator[list[Candidate]]:
        """Yields the waiting files of the same registrants, with sizes as the limits count them."""
        deleter = self.cleaner.deleter
        for page in self.registry.waiting_paths():
            self._files_read += len(page)
            now_ms, entries = self.registry.read([path for path in page if path not in self._passed_over])
            records = [record for record in entries if record is not None and _may_go(record, files)]
            yield [
                Candidate(record, record.size_bytes, 1, 0 if footprint is None else footprint.used_ms, now_ms)
                for record, footprint in zip(records, deleter.footprints(records), strict=True)
            ]


def _may_go(record: FileRecord, files: Sequence[NewFile]) -> bool:
    is_active = record.state is State.WAITING and not record.is_quarantined
    return is_active and _is_of_registrant(record, files)


def _is_of_registrant(record: FileRecord, files: Sequence[NewFile]) -> bool:
    return any(set(record.tags) & set(file.tags) or not (record.tags or file.tags) for file in files)
