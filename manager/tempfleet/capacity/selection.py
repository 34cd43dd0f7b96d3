"""
Selection of the files to delete so that enough is freed: the candidates with the lowest scores, out of any number.

Candidates come in pages, in no order, and there may be millions. A candidate is kept only while those with lower scores
do not free enough, so memory grows with the amount to free, not with the number of candidates.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..plugins import Candidate

MOST_CHOSEN = 10_000
"""Files of one selection; a caller that needs more selects again after deleting these."""

Scorer = Callable[[Sequence[Candidate]], Sequence[tuple[float, ...]]]
"""
Returns a score for each candidate of a page; the lowest score goes first. Equal scores go by path, so two selections
out of the same files are equal.
"""


@dataclass(slots=True)
class Shortfall:
    """The amount still to be freed, in bytes and in files (or inodes). It is met at zero or less."""

    bytes: int = 0
    files: int = 0

    @property
    def is_met(self) -> bool:
        return self.bytes <= 0 and self.files <= 0

    def is_helped_by(self, candidate: Candidate) -> bool:
        return bool(self.bytes > 0 and candidate.size_bytes) or bool(self.files > 0 and candidate.files)

    def subtract(self, candidate: Candidate) -> None:
        self.bytes -= candidate.size_bytes
        self.files -= candidate.files

    def add(self, candidate: Candidate) -> None:
        self.bytes += candidate.size_bytes
        self.files += candidate.files

    def is_met_without(self, candidate: Candidate) -> bool:
        return self.bytes + candidate.size_bytes <= 0 and self.files + candidate.files <= 0


@dataclass(slots=True)
class _HighestFirst:
    """Reverses the comparison: heapq keeps its smallest item on top, and the highest score is dropped first."""

    score: tuple[float | str, ...]
    candidate: Candidate

    def __lt__(self, other: _HighestFirst) -> bool:
        return self.score > other.score


def choose(
    pages: Iterable[Sequence[Candidate]], scorer: Scorer, shortfall: Shortfall, *, most: int = MOST_CHOSEN
) -> list[Candidate]:
    """
    Returns the candidates with the lowest scores that together meet *shortfall*, or all if they do not meet it.

    Duplicate paths count once. Candidates that free nothing needed are skipped. O(candidates * log(chosen)).
    """
    left = Shortfall(shortfall.bytes, shortfall.files)
    heap: list[_HighestFirst] = []
    chosen: set[str] = set()
    for page in pages:
        helpful = [candidate for candidate in page if shortfall.is_helped_by(candidate)]
        for candidate, score in zip(helpful, scorer(helpful), strict=True):
            path = candidate.record.path
            if path in chosen:
                continue
            heapq.heappush(heap, _HighestFirst((*score, path), candidate))
            chosen.add(path)
            left.subtract(candidate)
            while len(heap) > most or left.is_met_without(heap[0].candidate):
                dropped = heapq.heappop(heap).candidate
                chosen.remove(dropped.record.path)
                left.add(dropped)
    return [item.candidate for item in sorted(heap, reverse=True)]
