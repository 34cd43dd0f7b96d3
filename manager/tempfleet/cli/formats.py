"""Durations, sizes and instants on the console; see also units.py."""

from __future__ import annotations

import click

from ..formatting import duration
from ..records import FileRecord, State
from ..settings import parse_seconds


def seconds(text: str) -> float:
    """The type of every option that takes a duration; see units.py."""
    try:
        return parse_seconds(text)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} {exc}.") from None


def when(record: FileRecord, now_ms: int) -> str:
    """What happens to a file next, and in what time."""
    if record.state is State.LEASED:
        return "now"
    if record.due_ms is None:
        return "never"
    ahead = (record.due_ms - now_ms) / 1000
    return f"in {duration(ahead)}" if ahead > 0 else f"{duration(-ahead)} ago"
