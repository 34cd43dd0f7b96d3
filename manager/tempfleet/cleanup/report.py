"""
What a clean-up did, in counts. ``progress`` gets the same report after each batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..errors import RegistryFull
from ..logs import logger
from ..records import KEPT, Deletion, FileRecord, Outcome
from ..registry import PASSES, UNAVAILABLE, Registry


@dataclass(slots=True)
class CleanupReport:
    """
    What one clean-up did.

    Attributes:
        counts: files by outcome.
        freed_bytes: the disk space that was freed.
        handed_back: files that were claimed but not started when the clean-up ended; they wait again.
        set_aside: quarantined files; they can be restored until their quarantine ends.
        lost: files settled too late; the registry had given them to another claim, which settles them.
        recovered: files of claims that ran out before they were settled.
        finished: False if the budget or a stop ended the clean-up early.
        unavailable, unavailable_until_ms: why files could not be deleted although their root is there, and when all of
            them will have been tried again.
        latest, latest_aside: the results of the last batch, and the files that it quarantined. ``progress`` gets those
            of every batch.
    """

    counts: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    freed_bytes: int = 0
    handed_back: int = 0
    set_aside: int = 0
    lost: int = 0
    recovered: int = 0
    batches: int = 0
    seconds: float = 0.0
    finished: bool = True
    unavailable: Counter[str] = field(default_factory=Counter)
    unavailable_until_ms: int = 0
    latest: list[Deletion] = field(default_factory=list)
    latest_aside: list[FileRecord] = field(default_factory=list)

    @property
    def deleted(self) -> int:
        return self.counts[Outcome.DELETED]

    @property
    def kept(self) -> int:
        """The number of files that could not be deleted. Rewritten files are not due any more, so they do not count."""
        return sum(n for outcome, n in self.counts.items() if outcome in KEPT)

    def add(self, deletions: Iterable[Deletion]) -> None:
        self.latest = list(deletions)
        for deletion in self.latest:
            self.counts[deletion.outcome] += 1
            self.freed_bytes += deletion.freed_bytes

    def record(self, registry: Registry, *, round_trips: int, is_pass: bool) -> None:
        """Count the clean-up in *registry*, and log it. *is_pass*: it looked for due files."""
        totals = {"cleanups": 1, "round_trips": round_trips} | ({PASSES: 1} if is_pass else {})
        try:
            registry.observe(totals, histogram="duration", seconds=self.seconds)
            if self.unavailable:
                reason = self.unavailable.most_common(1)[0][0]
                value = f"{self.unavailable.total()} {reason} {self.unavailable_until_ms}"
                registry.set_meta(UNAVAILABLE, value)
        except RegistryFull as exc:
            logger.warning("The clean-up was not counted: %s", exc)
        self.log()

    def log(self) -> None:
        """Write one line, unless nothing was done."""
        if sum(self.counts.values()) or self.set_aside:
            logger.info(
                "Cleaned up %d temporary files (%d quarantined, %d missing, %d replaced, %d kept) in %.2f s",
                self.deleted,
                self.set_aside,
                self.counts[Outcome.MISSING],
                self.counts[Outcome.REPLACED],
                self.kept,
                self.seconds,
            )

    def as_dict(self) -> dict[str, object]:
        return {
            **{outcome.value: n for outcome, n in self.counts.items()},
            "freed_bytes": self.freed_bytes,
            "handed_back": self.handed_back,
            "set_aside": self.set_aside,
            "lost": self.lost,
            "recovered": self.recovered,
            "batches": self.batches,
            "seconds": round(self.seconds, 3),
            "finished": self.finished,
        }
