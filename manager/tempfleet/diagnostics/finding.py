"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What one check found.

    Attributes:
        check: its name, one word or two.
        said: what is so.
        todo: what to do about it; "" where all is well.
    """

    check: str
    level: Level
    said: str
    todo: str = ""
