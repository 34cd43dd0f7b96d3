"""
Decisions as pure functions: how long a file may live, when it is near its end, when to try again and when to stop
trying, and which file makes room first.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from unicodedata import category

from .errors import InvalidTag, InvalidTTL, ReasonTooLong
from .settings import LONGEST_TTL_SECONDS


def ttl_ms(seconds: object) -> int:
    """
    A time to live in whole milliseconds, at least one.

    Raises:
        InvalidTTL: not a number, NaN, zero or less, or longer than 366 days.
    """
    if not isinstance(seconds, numbers.Real) or isinstance(seconds, bool):
        raise InvalidTTL(f"A time to live is a number of seconds, not {seconds!r}.", value=seconds)
    try:
        value = float(seconds)
    except OverflowError:  # an integer of more than 308 digits
        value = math.inf
    if math.isnan(value) or value <= 0:
        raise InvalidTTL(f"A time to live is above zero seconds, not {seconds!r}.", value=seconds)
    if value > LONGEST_TTL_SECONDS:
        raise InvalidTTL(
            f"A time to live is at most {LONGEST_TTL_SECONDS} seconds (366 days), not {seconds!r}; "
            "hold() keeps a file for ever.",
            value=seconds,
        )
    return max(math.ceil(value * 1000), 1)


def hold_ms(seconds: object) -> int | None:
    """
    How long a hold lasts; None, as *seconds*, is for ever.

    Raises:
        InvalidTTL: as ``ttl_ms``.
    """
    try:
        return None if seconds is None else ttl_ms(seconds)
    except InvalidTTL:
        raise InvalidTTL(
            f"A hold is above zero seconds and at most 366 days, not {seconds!r}; without a time it is for ever.",
            value=seconds,
        ) from None


LONGEST_REASON = 500
"""Characters of a hold's reason: each costs Redis memory, once a held file."""


def hold_reason(words: str | None) -> str:
    """
    None is no reason.

    Raises:
        ReasonTooLong: it has more than 500 characters.
    """
    if words is not None and len(words) > LONGEST_REASON:
        raise ReasonTooLong
    return words or ""


LONGEST_TAG = 200
"""Characters: each file with the tag carries it, and so does each of its totals."""

ENDS_A_LINE = frozenset(("Cc", "Zl", "Zp"))
"""The Unicode categories of control characters and of what else begins a new line somewhere."""


def validate_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """
    *tags*, each of them a tag.

    Raises:
        InvalidTag: one is empty, has more than 200 characters, or control characters among them.
        TypeError: they are no strings; or one string, which would be taken for a list of its letters.
    """
    if isinstance(tags, str | bytes):
        raise TypeError(f"tags is a list of words: [{tags!r:.200}]")
    for tag in (found := tuple(tags)):
        if not isinstance(tag, str):
            raise TypeError(f"a tag is a string, not {tag!r:.200}")
        if not 0 < len(tag) <= LONGEST_TAG or any(category(c) in ENDS_A_LINE for c in tag):
            raise InvalidTag(f"{tag[:LONGEST_TAG]!r} is no tag. {InvalidTag.__doc__}", value=tag)
    return found
