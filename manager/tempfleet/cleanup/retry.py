"""Decides when a failed deletion is retried."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from ..deletion import UNFINISHED
from ..filesystem import NOT_ANSWERING
from ..records import KEPT, Deletion, Outcome
from ..registry import Nack
from ..settings import Settings
from .cause import Cause

LONGEST_SILENCE_MS = 300_000
"""The longest wait of a file because its root does not answer."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    When to retry a failed deletion: exponential back-off with jitter, then the dead-letter set.

    Only failures count towards the dead-letter set. A busy file or a missing disk is not an error and may take days.
    Such a file waits about as long again as it is overdue, so its wait doubles too, without a count. A directory waits
    until the file in it that has to stay is due; one that takes several clean-ups goes on soon.
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
        nack = self._decide(deletion, now_ms)
        left_ms = deletion.record.deadline_ms - now_ms
        if cause.keeps_deadline and nack.delay_ms is not None:
            return replace(nack, delay_ms=max(nack.delay_ms, left_ms))
        return nack

    def _decide(self, deletion: Deletion, now_ms: int) -> Nack:
        if deletion.outcome not in KEPT:
            raise ValueError(f"{deletion.outcome} files are not nacked")
        path, reason = deletion.path, deletion.reason or deletion.outcome.value
        if deletion.outcome is Outcome.REFUSED:
            return Nack(path, bury=True, reason=reason)
        if deletion.outcome is Outcome.FAILED:
            attempts = deletion.record.attempts + 1
            if attempts >= self.max_attempts:
                return Nack(path, bury=True, reason=reason)
            return Nack(path, delay_ms=self.delay_ms(attempts), reason=reason)
        if deletion.obstacle is not None and deletion.obstacle.until_ms is not None:
            until_ms = deletion.obstacle.until_ms
            return Nack(path, delay_ms=max(until_ms - now_ms, 1), counts=False, reason=reason)
        overdue = 0 if reason == UNFINISHED else now_ms - deletion.record.deadline_ms
        if reason == NOT_ANSWERING:
            # So that its files go soon after its root answers again.
            overdue = min(overdue, LONGEST_SILENCE_MS)
        return Nack(path, delay_ms=self._jittered(overdue), counts=False, reason=reason)

    def delay_ms(self, attempts: int) -> int:
        """Returns the wait after so many failed attempts."""
        return self._jittered(self.first_ms << min(attempts - 1, 40))

    def _jittered(self, delay: int) -> int:
        bounded = min(max(delay, self.first_ms), self.longest_ms)
        return max(int(bounded * random.uniform(0.75, 1.0)), 1)
