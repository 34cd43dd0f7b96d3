"""
Parse durations, sizes and permissions as people write them into numbers.
"""

from __future__ import annotations

import math
import re
import stat
from typing import Annotated, Any

from pydantic import BeforeValidator

_NUMBER = r"(\d+(?:\.\d+)?)"
_PLAIN = re.compile(_NUMBER)
_DURATION = re.compile(r"\s*".join(rf"(?:{_NUMBER}\s*{unit})?" for unit in "dhms"))
_SECONDS = (86400, 3600, 60, 1)

_SIZE = re.compile(_NUMBER + r" ?([KMGT]?)(?:I?B)?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_seconds(text: str) -> float:
    """
    Returns the seconds of ``90``, ``90s``, ``15m``, ``1h30m`` or ``7d``. A number without a unit is seconds.

    Raises:
        ValueError: *text* is not a duration.
    """
    duration = text.strip().lower()
    if _PLAIN.fullmatch(duration):
        return float(duration)
    match = _DURATION.fullmatch(duration)
    if not duration or not match:
        raise ValueError("must be a duration such as 90, 90s, 15m, 1h30m or 7d")
    return sum(float(part) * unit for part, unit in zip(match.groups(), _SECONDS, strict=True) if part)


def seconds(value: Any) -> Any:
    """Parse the duration of a setting. Any number passes, also ``inf``; the bounds of the setting check it."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return parse_seconds(value)


def seconds_or_a_day(value: Any) -> Any:
    """Parse a duration for which ``yes``, ``true`` or ``on`` is a day, and ``no``, ``false`` or ``off`` is 0."""
    word = str(value).lower()
    if word in ("yes", "true", "on"):
        return 86400.0
    return 0.0 if word in ("no", "false", "off") else seconds(value)


def size_bytes(value: Any) -> Any:
    """
    Parse a size: ``104857600``, ``100MB`` and ``100 MiB`` are the same number, because units are powers of 1024.

    A fraction of a byte is rounded up, because 0 means no limit.
    """
    if not isinstance(value, str):
        return value
    if not (match := _SIZE.fullmatch(value)):
        raise ValueError("must be a size such as 104857600 or 100MB")
    return math.ceil(float(match[1]) * 1024 ** _POWERS[match[2].upper()])


def permissions(value: Any) -> int:
    """Parse octal permissions: ``0600``."""
    try:
        mask = int(value, 8) if isinstance(value, str) else int(value)
    except (TypeError, ValueError):
        mask = -1
    if not 0 <= mask <= 0o777 or not mask & stat.S_IRUSR:
        raise ValueError("must be octal permissions such as 0600, readable for the owner")
    return mask


Seconds = Annotated[float, BeforeValidator(seconds)]
SecondsOrADay = Annotated[float, BeforeValidator(seconds_or_a_day)]
Size = Annotated[int, BeforeValidator(size_bytes)]
Permissions = Annotated[int, BeforeValidator(permissions)]
