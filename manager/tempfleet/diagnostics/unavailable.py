"""The problem of due files that their disk keeps, although their root is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..filesystem import in_words, meaning_of
from ..logs import printable
from ..registry import Volume, VolumeStats
from .problem import Problem, warning


def unavailable(volumes: Mapping[Volume, VolumeStats], now_ms: int) -> Iterator[Problem]:
    """They are not overdue, because they wait until they are tried again."""
    for volume, stats in volumes.items():
        files, reason, until_ms = stats.unavailable
        if not files or now_ms >= until_ms:
            continue
        wait = "due file waits" if files == 1 else "due files wait"
        yield warning(
            "unavailable",
            "failures",
            f"{files:,} {wait} for the disk in {printable(volume.base_dir)} ({in_words(reason)})",
            meaning_of(reason).todo or "They are tried again, less and less often, at least once an hour.",
        )
