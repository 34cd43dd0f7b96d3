"""
Makes room for registrations over a limit (TEMP_FILE_QUOTA=evict): deletes files of the same registrant.

A registrant is identified by its tags: files that share a tag with the new file, or have no tag if it has none. So a
registrant that registers too much harms no other. Files go in the order of the eviction policy; files whose deletion
failed before go last. Held files, files in use and quarantined files stay.

Several processes make room at once, choose the same files, and take each other's room. So a call searches again until
its files are registered, until no file is left that could be deleted, or for PATIENCE_SECONDS. It tries no file twice.
If others are deleting files of the registrant at that moment, it waits for them.

A search reads every waiting record. Redis leaves out the quarantined ones, which make no room. If a long search finds
nothing to delete, the next one waits ten times as long as this one took. Until then only the files that could not be
deleted are looked at again, see vain_searches.py.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..cleanup import Cause, Cleaner, CleanupReport
from ..errors import PluginFailed
from ..logs import logger
from ..plugins import Candidate, Policy
from ..records import GONE, KEPT, FileRecord, NewFile, Outcome, State
from .selection import Shortfall, choose
from .vain_searches import Pause, Registrant, Seen, VainSearches, all_files

PATIENCE_SECONDS = 10.0
"""The longest time for which one call makes room."""

SHORTEST_WAIT, LONGEST_WAIT = 0.005, 0.2
"""Seconds between two looks while others delete files; each wait is twice as long as the one before."""

MOST_REPEATS = 8
"""Searches that are repeated because files moved meanwhile."""

MORE_CHOSEN = 4
"""If no chosen file could be deleted, the next search chooses so many times more."""


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
        return Registrant(self.limit, frozenset(tag for file in self.files for tag in file.tags))

    @property
    def shortfall(self) -> Shortfall:
        """The size of the files plus a twentieth of the limit, so that not every call has to make room."""
        reserve = self.most // 20
        if "bytes" in self.limit.partition(":")[0]:
            return Shortfall(bytes=sum(file.size_bytes for file in self.files) + reserve)
        return Shortfall(files=len(self.files) + reserve)


@dataclass(frozen=True, slots=True)
class Search:
    """
    One search for files that make room.

    Attributes:
        chosen: in the order of their deletion.
        pause: of the registrant; then only its files that could not be deleted, and a page of others, were looked at.
        seen: the state of the registrant before the search.
    """

    shortage: Shortage
    chosen: Sequence[Candidate]
    files_read: int
    seconds: float
    seen: Seen
    pause: Pause | None


class RoomMaker:
    """Deletes files for all registrations of one volume in this process, and remembers which searches were in vain."""

    def __init__(self, cleaner: Cleaner, policy: Policy) -> None:
        self.cleaner = cleaner
        self.policy = policy
        self.vain_searches = VainSearches(cleaner.registry)


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
        self._ours = ours
        self._passed_over = set(ours)
        self._wait = SHORTEST_WAIT
        self._ends = time.monotonic() + PATIENCE_SECONDS
        self._counts: tuple[int, ...] = ()
        self._repeats = 0
        self._chosen_times = 1

    def make(self, shortages: Sequence[Shortage]) -> bool:
        """Delete files, or wait while others do. Returns False if there is no use in trying again."""
        if time.monotonic() >= self._ends:
            return False
        try:
            searches = [self._search(shortage) for shortage in shortages]
        except PluginFailed as exc:
            logger.warning("No room was made: %s", exc)
            return False
        if any(search.chosen for search in searches):
            if not any([self._delete(search) for search in searches if search.chosen]):
                # Others were faster, or all of these files are in use.
                self._chosen_times *= MORE_CHOSEN
                self._sleep()
            return True
        whole = [search for search in searches if search.pause is None]
        if not whole:
            return False
        files = [file for search in whole for file in search.shortage.files]
        if self._reap() or self._are_leaving(files) or self._may_have_missed_some():
            self._sleep()
            return True
        kept = self._passed_over - self._ours
        for search in whole:
            self.maker.vain_searches.add(
                search.shortage.registrant, search.files_read, search.seconds, search.seen, kept
            )
        return False

    def _search(self, shortage: Shortage) -> Search:
        """Search all files; during a pause, those that may have become deletable."""
        seen, pause = self.maker.vain_searches.look(shortage.registrant)
        files_read = 0

        def pages() -> Iterator[list[Candidate]]:
            nonlocal files_read
            source = all_files(self.registry) if pause is None else pause.pages(self.registry)
            for now_ms, records in source:
                files_read += len(records)
                candidates = self._candidates(now_ms, records, shortage.files)
                yield candidates if pause is None else self._deletable(candidates)

        wanted, times = shortage.shortfall, self._chosen_times
        wanted = Shortfall(wanted.bytes * times, wanted.files * times)
        began = time.monotonic()
        chosen = choose(pages(), self._scores, wanted)
        return Search(shortage, chosen, files_read, time.monotonic() - began, seen, pause)

    def _delete(self, search: Search) -> bool:
        """
        Delete the chosen files until there is room. Returns whether a file counts no longer: it was deleted or
        quarantined, or it was missing. Or it was rewritten; then it can be deleted the next time.
        """
        left = search.shortage.shortfall
        candidates = {candidate.record.path: candidate for candidate in search.chosen}

        def pages() -> Iterator[list[str]]:
            rest = iter(search.chosen)
            while not left.is_met:
                expected, page = Shortfall(left.bytes, left.files), list[str]()
                while not expected.is_met and (candidate := next(rest, None)) is not None:
                    expected.subtract(candidate)
                    page.append(candidate.record.path)
                if not page:
                    return
                yield page

        def account(report: CleanupReport) -> None:
            gone = [deletion.path for deletion in report.latest if deletion.outcome in GONE]
            for path in [*gone, *(record.path for record in report.latest_aside)]:
                left.subtract(candidates[path])
            self._passed_over.update(deletion.path for deletion in report.latest if deletion.outcome in KEPT)

        until_ms = self.registry.now_ms()
        report = self.cleaner.clean_paths(pages(), Cause.QUOTA, until_ms=until_ms, progress=account)
        logger.info(
            "Made room: chose %d files, deleted %d and freed %d bytes",
            len(candidates),
            report.deleted,
            report.freed_bytes,
        )
        return any(report.counts[outcome] for outcome in (*GONE, Outcome.REWRITTEN)) or report.set_aside > 0

    def _deletable(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those that a deletion would not keep now; nothing is claimed."""
        looks = self.cleaner.previews.evicted([candidate.record for candidate in candidates])
        return [
            candidate for candidate, look in zip(candidates, looks, strict=True) if look.outcome not in KEPT
        ]

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

    def _candidates(
        self, now_ms: int, records: Sequence[FileRecord], files: Sequence[NewFile]
    ) -> list[Candidate]:
        """The files of the same registrants among *records*, with sizes as the limits count them."""
        records = [
            record for record in records if record.path not in self._passed_over and _may_go(record, files)
        ]
        return [
            Candidate(record, record.size_bytes, 1, 0 if footprint is None else footprint.used_ms, now_ms)
            for record, footprint in zip(records, self.cleaner.deleter.footprints(records), strict=True)
        ]


def _may_go(record: FileRecord, files: Sequence[NewFile]) -> bool:
    is_active = record.state is State.WAITING and not record.is_quarantined
    return is_active and _is_of_registrant(record, files)


def _is_of_registrant(record: FileRecord, files: Sequence[NewFile]) -> bool:
    return any(set(record.tags) & set(file.tags) or not (record.tags or file.tags) for file in files)
