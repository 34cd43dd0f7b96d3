"""
Counts the messages that are thrown away, in the totals of the process's own volume and for the fleet. A registration
that is thrown away is a file that nobody deletes, so none may be lost in silence.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from tempfleet import TempfleetError
from tempfleet.logs import logger
from tempfleet.registry import Fleet, Registry

PAUSE_SECONDS = 10.0
"""After Redis did not answer, only the heartbeat tries again for so long, because Celery's loop waits for ``count``."""


class Refusals:
    """Counts by reason. What Redis did not take is kept, and counted later. Thread-safe."""

    def __init__(self, registry: Callable[[], Registry], fleet: Callable[[], Fleet]) -> None:
        self._registry = registry
        self._fleet = fleet
        self._lock = threading.Lock()
        self._pending: Counter[str] = Counter()
        self._paused_until = 0.0

    def count(self, reason: str, what: str, why: object) -> None:
        """Count and log one message. *reason* is the word in the totals; it never raises."""
        logger.warning("%s was thrown away (%s): %s", what, reason, why)
        with self._lock:
            self._pending[reason] += 1
        if time.monotonic() >= self._paused_until:
            self.flush()

    def flush(self) -> None:
        """Store what is not stored yet; it never raises."""
        with self._lock:
            pending, self._pending = self._pending, Counter()
        if not pending:
            return
        try:
            # First what people read. If the second call fails, they may be counted twice, but never lost.
            self._fleet().record_rejected(pending)
            self._registry().observe({f"rejected:{reason}": count for reason, count in pending.items()})
        except TempfleetError as exc:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            with self._lock:
                self._pending.update(pending)
            logger.warning("Could not count %d messages that were thrown away: %s", pending.total(), exc)
