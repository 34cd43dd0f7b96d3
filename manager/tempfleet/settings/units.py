"""
Durations, sizes and counts as people write and read them; inside they are numbers.
"""

from __future__ import annotations

import math
import re
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
    What ``90``, ``90s``, ``15m``, ``1h30m`` or ``7d`` says. Without a unit it is seconds.

    Raises:
        ValueError: it is no duration.
    """
    said = text.strip().lower()
    if _PLAIN.fullmatch(said):
        return float(said)
    found = _DURATION.fullmatch(said)
    if not said or not found:
        raise ValueError("must be a duration such as 90, 90s, 15m, 1h30m or 7d")
    return sum(float(part) * unit for part, unit in zip(found.groups(), _SECONDS, strict=True) if part)


def seconds(value: Any) -> Any:
    """A setting's duration: whatever is a number is left to its bounds."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return parse_seconds(value)


def size_bytes(value: Any) -> Any:
    """
    ``104857600``, ``100MB`` and ``100 MiB`` are the same number: the unit is 1024, whichever way it is written.

    A part of a byte is a byte, because 0 is no limit.
    """
    if not isinstance(value, str):
        return value
    if not (found := _SIZE.fullmatch(value)):
        raise ValueError("must be a size such as 104857600 or 100MB")
    return math.ceil(float(found[1]) * 1024 ** _POWERS[found[2].upper()])


Seconds = Annotated[float, BeforeValidator(seconds)]
Size = Annotated[int, BeforeValidator(size_bytes)]
