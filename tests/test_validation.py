"""Which values callers can pass as a time to live and as the reason of a hold."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from tempfleet import InvalidTTL, ReasonTooLong
from tempfleet.settings.settings import LONGEST_TTL_SECONDS
from tempfleet.validation import hold_ms, hold_reason, ttl_ms


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
def test_a_time_to_live_is_rounded_up_to_milliseconds(seconds: float, ms: int) -> None:
    assert ttl_ms(seconds) == ms


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        -0.0,
        -0.001,
        float("nan"),
        float("inf"),
        float("-inf"),
        LONGEST_TTL_SECONDS + 1,
        10**400,
        -(10**400),
    ],
)
def test_a_time_to_live_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(InvalidTTL) as error:
        ttl_ms(value)
    assert error.value.value is value


@pytest.mark.parametrize("value", ["60", None, True, b"1", [1], 1j, Decimal(1)])
def test_a_time_to_live_that_is_not_a_number_is_refused(value: object) -> None:
    with pytest.raises(InvalidTTL, match="number of seconds"):
        ttl_ms(value)


def test_the_reason_of_a_hold_has_at_most_500_characters() -> None:
    assert hold_reason("x" * 500) == "x" * 500
    with pytest.raises(ReasonTooLong):
        hold_reason("x" * 501)


def test_the_errors_for_zero_seconds_name_the_limits() -> None:
    with pytest.raises(InvalidTTL, match=r"^A time to live must be more than zero seconds, not 0\.0\.$"):
        ttl_ms(0.0)
    with pytest.raises(
        InvalidTTL, match=r"^A hold must be more than zero seconds and at most 366 days, not 0;"
    ):
        hold_ms(0)
