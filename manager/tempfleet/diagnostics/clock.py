"""What people read about jumps of Redis's clock, and about pauses: in health, doctor, status and on the status page."""

from __future__ import annotations

from typing import NamedTuple

from ..formatting import duration
from ..registry import VolumeStats


class ClockProblem(NamedTuple):
    """What is wrong, and what to do."""

    text: str
    todo: str


def clock_problem(stats: VolumeStats) -> ClockProblem | None:
    """Returns what keeps expired files of a volume; None if its deadlines pass on time."""
    if (pause := stats.pause) is not None:
        left = duration(pause.seconds)
        if pause.reason == "older":
            return ClockProblem(
                f"Redis has an older registry or an older clock than before: no file is claimed for {left}",
                "Did it start from an old dump, or did an old replica take over? Then stop the workers, and repair it.",
            )
        return ClockProblem(
            f"Redis's clock was far ahead of a host's at its first start: no expired file is deleted for {left}",
            "Correct the clock that is wrong. Cleaning goes on by itself.",
        )
    if stats.slack_ms:
        return ClockProblem(
            f"Redis's clock jumped ahead: deadlines pass {duration(stats.slack_ms / 1000)} later",
            "Correct the clock of Redis's server. If it is right now, run tempfleet clock accept.",
        )
    return None
