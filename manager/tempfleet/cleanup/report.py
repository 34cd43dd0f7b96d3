"""
What a clean-up did, in counts; who watches it is shown the same report grow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..records import GONE, Deletion, FileRecord, Outcome


@dataclass(slots=True)
class CleanupReport:
    """
    What one clean-up did.

    Attributes:
        counts: files by outcome.
        freed_bytes: what the disk got back.
        handed_back: claimed, not started when the clean-up ended; they wait again.
        set_aside: moved into the quarantine; they can be restored until the grace period ends.
        lost: settled too late; the registry had given them to somebody else, who settles them.
        recovered: files taken back from claims that had died.
        finished: False when the budget or a stop ended it with work left.
        latest, latest_aside: what became of each file of the last batch, and what was set aside; ``progress`` sees
            them all.
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
    latest: list[Deletion] = field(default_factory=list)
    latest_aside: list[FileRecord] = field(default_factory=list)

    @property
    def deleted(self) -> int:
        return self.counts[Outcome.DELETED]

    @property
    def kept(self) -> int:
        """Files that are still there and still registered."""
        return sum(n for outcome, n in self.counts.items() if outcome not in GONE)

    def add(self, deletions: Iterable[Deletion]) -> None:
        self.latest = list(deletions)
        for deletion in self.latest:
            self.counts[deletion.outcome] += 1
            self.freed_bytes += deletion.freed_bytes

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
