"""
What is known: of one file, of many, of the volume and its health.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..deletion import QuarantinedFile
from ..diagnostics import Explanation, Finding, examine, health_check
from ..errors import VolumeUnavailable
from ..filesystem import normalise
from ..records import NEAR_EXPIRY, Deletion, FileRecord, Outcome, State
from ..registry import VolumeStats
from .local_volume import Connected, StrPath


class Asking(Connected):
    """Ask; nothing is changed by it."""

    def get_file_age(self, file_path: StrPath) -> float | None:
        """Seconds since the file was registered, by the Redis clock; None if it is not."""
        now_ms, (record,) = self.registry.read([normalise(file_path)])
        return None if record is None else max(now_ms - record.registered_ms, 0) / 1000

    def is_temp_file(self, file_path: StrPath) -> bool:
        """Whether the path is registered; whether the file exists is not looked at."""
        return self.get_record(file_path) is not None

    def get_record(self, path: StrPath) -> FileRecord | None:
        """All that the registry knows of a path."""
        return self.registry.read([normalise(path)])[1][0]

    def get_records(self, paths: Sequence[StrPath]) -> list[FileRecord | None]:
        """All that the registry knows of each path, in their order: one round trip for each thousand."""
        return self.registry.read([normalise(path) for path in paths])[1]

    def records(self, *, state: State | None = None) -> Iterator[FileRecord]:
        """Every record, page by page, of one state if given; a path may come twice while others clean."""
        return self.registry.all_records(state=state)

    def files_due_within(self, seconds: float, *, limit: int = 1000) -> list[FileRecord]:
        """Up to *limit* files that fall due in the next *seconds*, or are due already, the soonest first."""
        return self.registry.due_within(within_ms=round(seconds * 1000), limit=limit)

    def near_expiry(self, fraction: float = NEAR_EXPIRY, *, limit: int = 1000) -> list[FileRecord]:
        """
        Up to *limit* files that have spent more than *fraction* of their lives (the specification's "about to expire"),
        or are due already, the soonest first. Each by its own time to live; what is held does not expire.

        Raises:
            ValueError: *fraction* is not from 0 to 1.

        Looks at files in the order of their deadlines until there are enough: cheap where most live equally long, and
        no more than one look at each file that waits.
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"a fraction of a life is from 0 to 1, not {fraction!r}")
        return self.registry.near_expiry(fraction=fraction, limit=limit)

    def explain(self, path: StrPath) -> Explanation:
        """What is known of *path*, and what would happen to it if it were due now; changes nothing."""
        absolute = normalise(path)
        now_ms, (record,) = self.registry.read([absolute])
        verdict = None if record is None else self._verdict_on(record, now_ms)
        aside = [one for one in self.quarantined() if one.path == absolute]
        return Explanation(absolute, now_ms, record, verdict, aside)

    def _verdict_on(self, record: FileRecord, now_ms: int) -> Deletion:
        try:
            self.cleaner.check_volume()
        except VolumeUnavailable as exc:
            return Deletion(record, Outcome.UNAVAILABLE, reason=exc.reason)
        return self.cleaner.previews.expired(record, now_ms)

    def quarantined(self) -> list[QuarantinedFile]:
        """The files that can be restored, as the disk tells it."""
        return list(self.cleaner.deleter.quarantined_files())

    def stats(self) -> VolumeStats:
        """Counts, totals and histograms of the volume, at one instant."""
        return self.registry.stats()

    def examine(self) -> list[Finding]:
        """What may be wrong here, and what to do about it; see doctor.py. Looks at every record, changes nothing."""
        return list(examine(self.local_volume.unchecked_registry, self.settings))

    def health_check(self) -> dict[str, Any]:
        """``status`` (healthy, degraded, unhealthy) and why; see health.py. Raises nothing of its own."""
        return health_check(self.local_volume.unchecked_registry, self.roots, self.settings) | {
            "max_age": self.max_age
        }
