"""
Remembers which searches for room were in vain, so that a registrant at its limit does not search at each registration.

After a long search that found nothing, its registrant pauses for ten times as long as the search took. Then a
registration looks only at the files that could not be deleted, because they may have been closed; and at a page of all
other records, going on where the last one stopped. It searches everything again at once if the registrant's totals, or
the numbers of held files and dead letters, have changed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from ..filesystem import PREFIX
from ..records import FileRecord
from ..registry import Cursor, Registry

LONG_SEARCH_FILES = 1000
PAUSE_FACTOR = 10
"""If a search read more than LONG_SEARCH_FILES and found nothing, the next waits for ten times as long as it took."""

MOST_KEPT = 20_000
"""If more files could not be deleted, there is no pause: looking at them takes as long as a search."""

MOST_PAUSED = 1000
"""Registrants whose pause is remembered."""

PAGE = 1000
FIRST = Cursor()
ASIDE = f"/{PREFIX}"
"""In the path of each quarantined file: it is in a private directory, where nothing else can be registered."""

Page = tuple[int, Sequence[FileRecord]]
"""The time by the Redis clock (ms), and records."""

Seen = tuple[int, ...]
"""What shows that a file of the registrant may have become deletable: held files, dead letters, and its totals."""


class Registrant(NamedTuple):
    """The limit that it exceeds, and its tags."""

    limit: str
    tags: frozenset[str]


@dataclass(slots=True)
class Pause:
    """
    Attributes:
        until: by the monotonic clock.
        kept: the files that could not be deleted.
        cursor: where the last look at all records stopped.
    """

    until: float
    seen: Seen
    kept: list[str]
    cursor: Cursor = FIRST

    def pages(self, registry: Registry) -> Iterator[Page]:
        """What to look at during the pause."""
        for start in range(0, len(self.kept), PAGE):
            now_ms, records = registry.read(self.kept[start : start + PAGE])
            yield now_ms, [record for record in records if record is not None]
        now_ms, waiting, cursor = registry.page(self.cursor, limit=PAGE, aside=ASIDE)
        self.cursor = cursor or FIRST
        yield now_ms, waiting


def all_files(registry: Registry) -> Iterator[Page]:
    """Every waiting file outside the quarantine."""
    cursor: Cursor | None = FIRST
    while cursor is not None:
        now_ms, records, cursor = registry.page(cursor, limit=PAGE, aside=ASIDE)
        yield now_ms, records


class VainSearches:
    """Those of one volume in this process. Thread-safe."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._paused: dict[Registrant, Pause] = {}

    def look(self, registrant: Registrant) -> tuple[Seen, Pause | None]:
        """Returns the state of *registrant*, and its pause if it has one."""
        pause = self._paused.get(registrant)
        if pause is not None and time.monotonic() < pause.until:
            self.registry.reap()  # perhaps a hold is over
        stats = self.registry.stats()
        totals = (
            self.registry.amounts_of(registrant.tags) if registrant.tags else (stats.total("registered"),)
        )
        seen = (stats.held, stats.dead, *totals)
        is_paused = pause is not None and time.monotonic() < pause.until and seen == pause.seen
        return seen, pause if is_paused else None

    def add(
        self, registrant: Registrant, files_read: int, seconds: float, seen: Seen, kept: Set[str]
    ) -> None:
        """
        Pause *registrant*, if its search that found nothing was long.

        Args:
            seen: its state before the search.
            kept: the files that could not be deleted.
        """
        if files_read <= LONG_SEARCH_FILES or len(kept) > MOST_KEPT:
            return
        if len(self._paused) >= MOST_PAUSED:
            self._paused.clear()
        self._paused[registrant] = Pause(time.monotonic() + PAUSE_FACTOR * seconds, seen, sorted(kept))
