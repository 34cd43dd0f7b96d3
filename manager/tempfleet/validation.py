"""
Checks of the arguments of public calls: times to live, holds and their reasons, tags.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from unicodedata import category

from .errors import InvalidTag, InvalidTTL, ReasonTooLong, TooManyTags
from .settings import LONGEST_TTL_SECONDS


def ttl_ms(seconds: object) -> int:
    """
    Convert a time to live to whole milliseconds, at least one.

    Raises:
        InvalidTTL: *seconds* is not a number, NaN, zero or less, or longer than 366 days.
    """
    if not isinstance(seconds, numbers.Real) or isinstance(seconds, bool):
        raise InvalidTTL(f"A time to live must be a number of seconds, not {seconds!r}.", value=seconds)
    try:
        value = float(seconds)
    except OverflowError:
        # An integer of more than 308 digits.
        value = math.inf
    if math.isnan(value) or value <= 0:
        raise InvalidTTL(f"A time to live must be more than zero seconds, not {seconds!r}.", value=seconds)
    if value > LONGEST_TTL_SECONDS:
        raise InvalidTTL(
            f"A time to live must be at most {LONGEST_TTL_SECONDS} seconds (366 days), not {seconds!r}; "
            "hold() keeps a file for ever.",
            value=seconds,
        )
    return max(math.ceil(value * 1000), 1)


def hold_ms(seconds: object) -> int | None:
    """
    Convert the length of a hold to milliseconds; None means for ever.

    Raises:
        InvalidTTL: as in ``ttl_ms``.
    """
    try:
        return None if seconds is None else ttl_ms(seconds)
    except InvalidTTL:
        raise InvalidTTL(
            f"A hold must be more than zero seconds and at most 366 days, not {seconds!r}; "
            "without a time it is for ever.",
            value=seconds,
        ) from None


LONGEST_REASON = 500
"""Characters of a hold's reason. Redis stores one reason per hold."""


def hold_reason(reason: str | None) -> str:
    """
    Check the reason of a hold; None becomes "".

    Raises:
        ReasonTooLong: it has more than 500 characters.
    """
    if reason is not None and len(reason) > LONGEST_REASON:
        raise ReasonTooLong
    return reason or ""


LONGEST_TAG = 200
"""Characters of a tag. Redis stores it in the record of each file with the tag, and in the tag's totals."""

MOST_TAGS = 32
"""Tags of a file, with those of all its registrations. scripts/lib/union.lua has the same number."""

ENDS_A_LINE = frozenset(("Cc", "Zl", "Zp"))
"""The Unicode categories of control characters and of other characters that may end a line."""


def ends_a_line(character: str) -> bool:
    return category(character) in ENDS_A_LINE


def validate_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """
    Check each tag; returns them as a tuple, each once.

    Raises:
        InvalidTag: a tag is empty, has more than 200 characters, or contains control characters.
        TooManyTags: there are more than 32.
        TypeError: a tag is not a string; or *tags* is a single string, which would count as a list of letters.
    """
    if isinstance(tags, str | bytes):
        raise TypeError(f"tags must be a list of strings: [{tags!r:.200}]")
    checked = tuple(tags)
    for tag in checked:
        if not isinstance(tag, str):
            raise TypeError(f"a tag must be a string, not {tag!r:.200}")
        if not 0 < len(tag) <= LONGEST_TAG or any(map(ends_a_line, tag)):
            raise InvalidTag(f"{tag[:LONGEST_TAG]!r} is not a valid tag. {InvalidTag.__doc__}", value=tag)
    different = tuple(dict.fromkeys(checked))
    if len(different) > MOST_TAGS:
        raise TooManyTags
    return different
