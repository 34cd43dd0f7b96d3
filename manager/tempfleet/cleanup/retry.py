"""When a failed deletion is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from ..records import GONE, Deletion, Outcome
from ..registry import Nack
from ..settings import Settings
from .cause import Cause


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    When a file that would not go is tried again: exponential back-off with jitter, then the grave.

    Only failures count towards the grave. A busy file or a missing disk is nobody's mistake and may take days; these
    wait about as long as they have waited already, which doubles as well and needs no count.
    """

    first_ms: int
    longest_ms: int
    max_attempts: int

    @classmethod
    def of(cls, settings: Settings) -> RetryPolicy:
        return cls(
            int(settings.retry_delay_seconds * 1000),
            int(settings.retry_max_delay_seconds * 1000),
            settings.max_attempts,
        )

    def decide(self, deletion: Deletion, cause: Cause, *, now_ms: int) -> Nack:
        """Returns what the registry does with a file that could not be deleted."""
        kept = self._decide(deletion, now_ms)
        left_ms = deletion.record.deadline_ms - now_ms
        if cause.keeps_deadline and kept.delay_ms is not None:
            return replace(kept, delay_ms=max(kept.delay_ms, left_ms))
        return kept

    def _decide(self, deletion: Deletion, now_ms: int) -> Nack:
        if deletion.outcome in GONE:
            raise ValueError(f"{deletion.outcome} files are acked, not kept")
        path, reason = deletion.path, deletion.reason or deletion.outcome.value
        if deletion.outcome is Outcome.REFUSED:
            return Nack(path, bury=True, reason=reason)
        if deletion.outcome is Outcome.FAILED:
            failed = deletion.record.attempts + 1
            if failed >= self.max_attempts:
                return Nack(path, bury=True, reason=reason)
            return Nack(path, delay_ms=self.delay_ms(failed), reason=reason)
        overdue = now_ms - deletion.record.deadline_ms
        return Nack(path, delay_ms=self._jittered(overdue), counts=False, reason=reason)

    def delay_ms(self, failed: int) -> int:
        """The wait after the *failed*-th failure, 1 being the first."""
        return self._jittered(self.first_ms << min(failed - 1, 40))

    def _jittered(self, delay: int) -> int:
        bounded = min(max(delay, self.first_ms), self.longest_ms)
        return max(int(bounded * random.uniform(0.75, 1.0)), 1)
