"""When a failed deletion is retried, and when it becomes a dead letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempfleet import Deletion, FileRecord, Outcome
from tempfleet.cleanup.cause import Cause
from tempfleet.cleanup.retry import RetryPolicy
from tempfleet.records import KEPT
from tempfleet.registry.values import Nack
from tempfleet.settings.settings import Settings

POLICY = RetryPolicy(first_ms=5_000, longest_ms=3_600_000, max_attempts=25)


def nack_of(outcome: Outcome, *, attempts: int = 0, overdue_ms: int = 0, reason: str = "") -> Nack:
    record = FileRecord("/base/file", registered_ms=0, deadline_ms=1_000_000, attempts=attempts)
    return POLICY.decide(
        Deletion(record, outcome, reason=reason), Cause.EXPIRED, now_ms=1_000_000 + overdue_ms
    )


@given(st.integers(min_value=1, max_value=10_000))
def test_the_delay_doubles_with_each_failure_and_never_leaves_its_bounds(attempts: int) -> None:
    delay = POLICY.delay_ms(attempts)
    unjittered = min(5_000 * 2 ** (attempts - 1), 3_600_000)
    assert 0.75 * unjittered - 1 <= delay <= unjittered


def test_two_files_that_failed_together_are_not_retried_together() -> None:
    assert len({POLICY.delay_ms(10) for _ in range(50)}) > 1


def test_a_failure_waits_longer_each_time_and_becomes_a_dead_letter_at_the_last_attempt() -> None:
    first = nack_of(Outcome.FAILED, attempts=0, reason="EACCES")
    assert (first.bury, first.counts, first.reason) == (False, True, "EACCES")
    assert 3_750 <= (first.delay_ms or 0) <= 5_000
    assert not nack_of(Outcome.FAILED, attempts=23).bury
    assert nack_of(Outcome.FAILED, attempts=24).bury
    assert nack_of(Outcome.FAILED, attempts=24).counts


@pytest.mark.parametrize("outcome", [Outcome.BUSY, Outcome.UNAVAILABLE])
@pytest.mark.parametrize("attempts", [0, 24, 1000])
def test_a_busy_file_or_a_missing_disk_is_never_counted_and_never_a_dead_letter(
    outcome: Outcome, attempts: int
) -> None:
    decision = nack_of(outcome, attempts=attempts, overdue_ms=10**9)
    assert (decision.bury, decision.counts) == (False, False)


def test_a_busy_file_waits_about_as_long_as_it_is_overdue() -> None:
    for overdue, least, most in [(-5_000, 3_750, 5_000), (0, 3_750, 5_000), (60_000, 45_000, 60_000)]:
        assert least <= (nack_of(Outcome.BUSY, overdue_ms=overdue).delay_ms or 0) <= most
    assert 2_700_000 <= (nack_of(Outcome.BUSY, overdue_ms=10**9).delay_ms or 0) <= 3_600_000


def test_a_refused_file_is_a_dead_letter_at_once_with_the_reason() -> None:
    assert nack_of(Outcome.REFUSED, reason="symlink") == Nack("/base/file", bury=True, reason="symlink")


def test_every_outcome_is_either_acked_or_nacked_with_a_reason() -> None:
    for outcome in Outcome:
        if outcome in KEPT:
            assert nack_of(outcome).reason == outcome.value
        else:
            with pytest.raises(ValueError, match="not nacked"):
                nack_of(outcome)


def test_a_longest_delay_below_the_first_still_bounds_it() -> None:
    policy = RetryPolicy.of(Settings(retry_delay_seconds=10, retry_max_delay_seconds=1))
    assert 750 <= policy.delay_ms(1) <= 1_000
    assert RetryPolicy.of(Settings(retry_delay_seconds=0.0001)).delay_ms(1) >= 1


def test_a_file_that_was_tried_early_falls_due_no_sooner() -> None:
    record = FileRecord("/base/file", registered_ms=0, deadline_ms=1_000_000)
    for outcome in (Outcome.BUSY, Outcome.FAILED):
        early = POLICY.decide(Deletion(record, outcome), Cause.QUOTA, now_ms=400_000)
        assert early.delay_ms == 600_000
        forced = POLICY.decide(Deletion(record, outcome), Cause.FORCED, now_ms=400_000)
        assert (forced.delay_ms or 0) <= 5_000
        overdue = POLICY.decide(Deletion(record, outcome), Cause.QUOTA, now_ms=1_000_000)
        assert (overdue.delay_ms or 0) <= 5_000
