"""How long a file may live, when a file that would not go is tried again, and when trying stops."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempfleet import Deletion, FileRecord, InvalidTTL, Outcome, ReasonTooLong, SettingsError
from tempfleet.capacity.policies import builtin_policies, policy_named
from tempfleet.cleanup.cause import Cause
from tempfleet.cleanup.retry import RetryPolicy
from tempfleet.plugins.specification import Candidate
from tempfleet.records import GONE
from tempfleet.registry.values import Nack
from tempfleet.settings.settings import LONGEST_TTL_SECONDS, Settings
from tempfleet.validation import hold_reason, ttl_ms

POLICY = RetryPolicy(first_ms=5_000, longest_ms=3_600_000, max_attempts=25)


def kept(outcome: Outcome, *, attempts: int = 0, overdue_ms: int = 0, reason: str = "") -> Nack:
    record = FileRecord("/base/file", registered_ms=0, deadline_ms=1_000_000, attempts=attempts)
    return POLICY.decide(
        Deletion(record, outcome, reason=reason), Cause.EXPIRED, now_ms=1_000_000 + overdue_ms
    )


@pytest.mark.parametrize(
    ("seconds", "ms"),
    [
        (1, 1000),
        (0.5, 500),
        (0.0001, 1),
        (1.0004, 1001),
        (Fraction(1, 3), 334),
        (LONGEST_TTL_SECONDS, 31_622_400_000),
    ],
)
def test_a_time_to_live_is_whole_milliseconds_and_never_shorter_than_asked(seconds: float, ms: int) -> None:
    assert ttl_ms(seconds) == ms


@pytest.mark.parametrize(
    "nonsense",
    [0, -1, -0.0, float("nan"), float("inf"), float("-inf"), LONGEST_TTL_SECONDS + 1, 10**400, -(10**400)],
)
def test_a_time_to_live_that_is_no_length_of_time_is_refused(nonsense: float) -> None:
    with pytest.raises(InvalidTTL) as refused:
        ttl_ms(nonsense)
    assert refused.value.value is nonsense


@pytest.mark.parametrize("nonsense", ["60", None, True, b"1", [1], 1j, Decimal(1)])
def test_a_time_to_live_that_is_no_number_is_refused(nonsense: object) -> None:
    with pytest.raises(InvalidTTL, match="number of seconds"):
        ttl_ms(nonsense)


@given(st.integers(min_value=1, max_value=10_000))
def test_the_delay_doubles_with_each_failure_and_never_leaves_its_bounds(failed: int) -> None:
    delay = POLICY.delay_ms(failed)
    unjittered = min(5_000 * 2 ** (failed - 1), 3_600_000)
    assert 0.75 * unjittered - 1 <= delay <= unjittered


def test_two_files_that_failed_together_are_not_tried_together() -> None:
    assert len({POLICY.delay_ms(10) for _ in range(50)}) > 1


def test_a_failure_waits_longer_each_time_and_is_buried_at_the_last_attempt() -> None:
    first = kept(Outcome.FAILED, attempts=0, reason="EACCES")
    assert (first.bury, first.counts, first.reason) == (False, True, "EACCES")
    assert 3_750 <= (first.delay_ms or 0) <= 5_000
    assert not kept(Outcome.FAILED, attempts=23).bury
    assert kept(Outcome.FAILED, attempts=24).bury
    assert kept(Outcome.FAILED, attempts=24).counts


@pytest.mark.parametrize("outcome", [Outcome.BUSY, Outcome.UNAVAILABLE])
@pytest.mark.parametrize("attempts", [0, 24, 1000])
def test_what_is_nobodys_mistake_is_never_counted_and_never_buried(outcome: Outcome, attempts: int) -> None:
    decision = kept(outcome, attempts=attempts, overdue_ms=10**9)
    assert (decision.bury, decision.counts) == (False, False)


def test_a_busy_file_waits_about_as_long_as_it_has_waited_already() -> None:
    for overdue, least, most in [(-5_000, 3_750, 5_000), (0, 3_750, 5_000), (60_000, 45_000, 60_000)]:
        assert least <= (kept(Outcome.BUSY, overdue_ms=overdue).delay_ms or 0) <= most
    assert 2_700_000 <= (kept(Outcome.BUSY, overdue_ms=10**9).delay_ms or 0) <= 3_600_000


def test_what_may_never_be_deleted_is_buried_at_once_with_the_reason() -> None:
    assert kept(Outcome.REFUSED, reason="symlink") == Nack("/base/file", bury=True, reason="symlink")


def test_every_outcome_is_either_forgotten_or_decided_with_a_reason() -> None:
    for outcome in Outcome:
        if outcome in GONE:
            with pytest.raises(ValueError, match="acked"):
                kept(outcome)
        else:
            assert kept(outcome).reason == outcome.value


def test_a_longest_delay_below_the_first_still_bounds_it() -> None:
    policy = RetryPolicy.of(Settings(retry_delay_seconds=10, retry_max_delay_seconds=1))
    assert 750 <= policy.delay_ms(1) <= 1_000
    assert RetryPolicy.of(Settings(retry_delay_seconds=0.0001)).delay_ms(1) >= 1


def test_the_reason_of_a_hold_is_short() -> None:
    assert hold_reason("x" * 500) == "x" * 500
    with pytest.raises(ReasonTooLong):
        hold_reason("x" * 501)


def test_a_file_that_was_tried_early_falls_due_no_sooner_for_it() -> None:
    record = FileRecord("/base/file", registered_ms=0, deadline_ms=1_000_000)
    for outcome in (Outcome.BUSY, Outcome.FAILED):
        early = POLICY.decide(Deletion(record, outcome), Cause.QUOTA, now_ms=400_000)
        assert early.delay_ms == 600_000
        asked_for = POLICY.decide(Deletion(record, outcome), Cause.FORCED, now_ms=400_000)
        assert (asked_for.delay_ms or 0) <= 5_000
        overdue = POLICY.decide(Deletion(record, outcome), Cause.QUOTA, now_ms=1_000_000)
        assert (overdue.delay_ms or 0) <= 5_000


def could_go(name: str, *, registered: int, size: int, used: int) -> Candidate:
    record = FileRecord(name, registered_ms=registered, deadline_ms=10_000)
    return Candidate(record, size_bytes=size, files=1, used_ms=used, now_ms=1_000)


@pytest.mark.parametrize(
    ("policy", "order"),
    [
        ("oldest", ["old", "middle", "large", "young"]),
        ("largest", ["large", "middle", "young", "old"]),
        ("least-recently-used", ["young", "large", "middle", "old"]),
        ("size-age", ["middle", "large", "old", "young"]),  # 700 * 30, 100 * 40, 900 * 1, 10 * 2
    ],
)
def test_each_policy_has_its_order(policy: str, order: list[str]) -> None:
    files = [
        could_go("young", registered=990, size=2, used=1),
        could_go("old", registered=100, size=1, used=9),
        could_go("large", registered=900, size=40, used=2),
        could_go("middle", registered=300, size=30, used=3),
    ]
    places = dict(zip((each.record.path for each in files), builtin_policies()[policy](files), strict=True))
    assert sorted(places, key=places.__getitem__) == order


def test_a_policy_that_there_is_not_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError) as refused:
        policy_named("least-recently", builtin_policies())
    assert refused.value.variable == "TEMP_FILE_EVICTION_POLICY"
    assert str(refused.value) == (
        "TEMP_FILE_EVICTION_POLICY='least-recently': must be one of largest, least-recently-used, oldest, size-age; "
        "did you mean least-recently-used?"
    )
