"""One problem: its code, what is wrong, and the remedy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .finding import Finding, Level


@dataclass(frozen=True, slots=True)
class Problem:
    """
    Attributes:
        code: one word for programs, for example ``overdue``; it does not change.
        check: the doctor's check that shows it.
        text: what is wrong, a sentence without its full stop.
        todo: the remedy, whole sentences; "" if there is none to name.
    """

    code: str
    check: str
    level: Level
    text: str
    todo: str = ""

    def __str__(self) -> str:
        return f"{self.text}. {self.todo}" if self.todo else self.text

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_finding(self) -> Finding:
        return Finding(self.check, self.level, self.text, self.todo)


def warning(code: str, check: str, text: str, todo: str = "") -> Problem:
    return Problem(code, check, Level.WARNING, text, todo)


def error(code: str, check: str, text: str, todo: str = "") -> Problem:
    return Problem(code, check, Level.ERROR, text, todo)
