"""Durations, sizes and instants, as people write and read them."""

from __future__ import annotations

import click

from ..records import FileRecord, State
from ..units import parse_seconds


def seconds(text: str) -> float:
    """The type of every option that takes a duration; see units.py."""
    try:
        return parse_seconds(text)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} {exc}.") from None


def duration(seconds: float) -> str:
    """At most two units: ``0.4 s``, ``42 s``, ``2 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return _two(minutes // 60, "h", minutes % 60, "min")
    return _two(minutes // 1440, "d", minutes // 60 % 24, "h")


def _two(large: int, unit: str, small: int, smaller: str) -> str:
    return f"{large} {unit} {small} {smaller}" if small else f"{large} {unit}"


def size(amount: float) -> str:
    """Bytes in decimal units: ``0 B``, ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(amount) < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def when(record: FileRecord, now_ms: int) -> str:
    """What happens to a file next, and in what time."""
    if record.state is State.LEASED:
        return "now"
    if record.due_ms is None:
        return "never"
    ahead = (record.due_ms - now_ms) / 1000
    return f"in {duration(ahead)}" if ahead > 0 else f"{duration(-ahead)} ago"
