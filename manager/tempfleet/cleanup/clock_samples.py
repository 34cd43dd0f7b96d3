"""What two looks at Redis's clock show: whether it jumped in between, and how late it can be now."""

from __future__ import annotations

from dataclasses import dataclass

from ..registry import Horizon

TOLERANCE_MS = 2000
DRIFT = 0.1
"""A jump is more than TOLERANCE_MS, and more than this share of the time since the last look."""


@dataclass(frozen=True, slots=True)
class Sample:
    """
    The clock of Redis and that of this host at about one time.

    Attributes:
        redis_ms: the time of Redis.
        jumped_ms: the sum of its recorded jumps until then.
        sent_ms, received_ms: the clock of this host before and after it asked Redis.
    """

    redis_ms: int
    jumped_ms: int
    sent_ms: float
    received_ms: float

    @property
    def steady_ms(self) -> int:
        """The time of Redis without its jumps. It goes as all clocks do."""
        return self.redis_ms - self.jumped_ms


def horizon_after(seen: Sample, now_ms: float, known: Horizon) -> Horizon:
    """*known*, with the time of Redis at *now_ms* of this host, if it did not jump since *seen*."""
    latest_ms = seen.steady_ms + round((now_ms - seen.sent_ms) * (1 + DRIFT)) + TOLERANCE_MS
    expected_ms = seen.steady_ms + round(now_ms - seen.received_ms)
    return known._replace(latest_ms=latest_ms, expected_ms=expected_ms)


def _elapsed(before: Sample, sample: Sample) -> tuple[float, float]:
    """The least and the most time between the two looks of Redis at its clock, by the clock of this host."""
    return sample.sent_ms - before.received_ms, sample.received_ms - before.sent_ms


def agree(before: Sample, sample: Sample) -> bool:
    """Whether the clocks certainly went equally far. A slow reply proves nothing, so then it is False."""
    least_ms, most_ms = _elapsed(before, sample)
    advance_ms = sample.steady_ms - before.steady_ms
    return most_ms * (1 - DRIFT) - TOLERANCE_MS <= advance_ms <= least_ms * (1 + DRIFT) + TOLERANCE_MS


def jump(before: Sample, sample: Sample) -> int:
    """How far Redis's clock certainly jumped between two samples (ms, below 0 for back); rounded to the later side."""
    least_ms, most_ms = _elapsed(before, sample)
    advance_ms = sample.steady_ms - before.steady_ms
    if (
        most_ms * (1 + DRIFT) + TOLERANCE_MS < advance_ms
        or advance_ms < least_ms * (1 - DRIFT) - TOLERANCE_MS
    ):
        return round(advance_ms - least_ms)
    return 0
