"""The result of one check of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    The result of one check.

    Attributes:
        check: the name of the check, one or two words.
        said: what is wrong, or that nothing is.
        todo: the remedy; "" if nothing is wrong.
    """

    check: str
    level: Level
    said: str
    todo: str = ""

    @classmethod
    def ok(cls, check: str, said: str) -> Finding:
        """Returns a finding that needs no remedy."""
        return cls(check, Level.OK, said)

    @classmethod
    def warning(cls, check: str, said: str, todo: str) -> Finding:
        """Returns a finding that a person should look at."""
        return cls(check, Level.WARNING, said, todo)

    @classmethod
    def error(cls, check: str, said: str, todo: str) -> Finding:
        """Returns a finding that stops something from working."""
        return cls(check, Level.ERROR, said, todo)
