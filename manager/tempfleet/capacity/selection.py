"""
Which files make room: as many as are needed, the first in the policy's order, out of any number.

Candidates come in pages, in no order, and may be millions. Only those are kept that would have to go if the rest were
worse, so memory grows with what is needed and not with what there is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..plugins import Candidate

MOST_CHOSEN = 10_000
"""Files of one choice; whoever needs more chooses again when these are gone."""

Rank = Callable[[Sequence[Candidate]], Sequence[tuple[float, ...]]]
"""
A place for each of a page. Lower goes first; what is equal goes by its path, so that two choices out of the same files
are the same.
"""


@dataclass(slots=True)
class Shortfall:
    """What is still to go, in bytes and in files (or inodes); zero or less is enough."""

    bytes: int = 0
    files: int = 0

    @property
    def is_met(self) -> bool:
        return self.bytes <= 0 and self.files <= 0

    def is_helped_by(self, candidate: Candidate) -> bool:
        return bool(self.bytes > 0 and candidate.size_bytes) or bool(self.files > 0 and candidate.files)

    def take(self, candidate: Candidate) -> None:
        self.bytes -= candidate.size_bytes
        self.files -= candidate.files

    def give_back(self, candidate: Candidate) -> None:
        self.bytes += candidate.size_bytes
        self.files += candidate.files

    def is_met_without(self, candidate: Candidate) -> bool:
        return self.bytes + candidate.size_bytes <= 0 and self.files + candidate.files <= 0


@dataclass(slots=True)
class _LastFirst:
    """Turns the order round: heapq keeps its smallest on top, and the last one is what is let go."""

    place: tuple[float | str, ...]
    candidate: Candidate

    def __lt__(self, other: _LastFirst) -> bool:
        return self.place > other.place


def choose(
    pages: Iterable[Sequence[Candidate]], rank: Rank, need: Shortfall, *, most: int = MOST_CHOSEN
) -> list[Candidate]:
    """
    The first of all candidates in the order of *rank* that together meet *need*, all of them where they do not.

    A path that comes twice counts once; who would not help is left out. O(candidates * log(chosen)).
    """
    still = Shortfall(need.bytes, need.files)
    heap: list[_LastFirst] = []
    chosen: set[str] = set()
    for page in pages:
        helpful = [candidate for candidate in page if need.is_helped_by(candidate)]
        for candidate, place in zip(helpful, rank(helpful), strict=True):
            path = candidate.record.path
            if path in chosen:
                continue
            heapq.heappush(heap, _LastFirst((*place, path), candidate))
            chosen.add(path)
            still.take(candidate)
            while len(heap) > most or still.is_met_without(heap[0].candidate):
                last = heapq.heappop(heap).candidate
                chosen.remove(last.record.path)
                still.give_back(last)
    return [each.candidate for each in sorted(heap, reverse=True)]
