"""What the list of problems is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..logs import printable
from ..registry import PASSES, Memory, Pulse, Volume, VolumeStats
from ..settings import Settings

INTERVALS = 3
"""A sweep or a deletion that is late by so many intervals is a problem."""


@dataclass(frozen=True, slots=True)
class Facts:
    """
    What a process has read, at about one time.

    Attributes:
        host: the host of the reader.
        volumes: the volumes that are judged: one, or all of the fleet.
        patience_seconds: a file that is overdue for longer is a problem.
    """

    host: str
    pulse: Pulse
    volumes: Mapping[Volume, VolumeStats]
    memory: Memory | None
    patience_seconds: float
    sweep_interval_seconds: float

    @property
    def is_one_volume(self) -> bool:
        return len(self.volumes) == 1

    def total(self, name: str, *, host: str | None = None, uncleaned: bool = False) -> int:
        """
        The sum of an attribute of VolumeStats over the volumes, or over those of *host*.

        Args:
            uncleaned: only volumes in which no clean-up has looked for due files since the first file.
        """
        return sum(
            getattr(stats, name)
            for volume, stats in self.volumes.items()
            if host in (None, volume.host) and not (uncleaned and stats.total(PASSES))
        )

    def of(self, volume: Volume) -> str:
        """The beginning of a sentence about *volume*; "" if the reader asked for this volume alone."""
        return "" if self.is_one_volume else f"{printable(volume.host)}: "


def facts_of(
    settings: Settings,
    pulse: Pulse,
    volumes: Mapping[Volume, VolumeStats],
    *,
    memory: Memory | None = None,
) -> Facts:
    """The facts that a process with *settings* has read."""
    return Facts(
        settings.host,
        pulse,
        volumes,
        memory,
        patience_seconds=INTERVALS * settings.timer_interval_seconds,
        sweep_interval_seconds=settings.cleanup_interval_seconds,
    )
