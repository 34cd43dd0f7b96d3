"""
What the status page shows, read from the registry in a few round trips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..diagnostics import Problem, facts_of, problems_of
from ..records import FileRecord
from ..registry import Fleet, Histogram, Host, Memory, Sweep, Volume, VolumeStats
from ..settings import Settings

STEP_SECONDS = 60
STEPS = 60
VOLUMES_FORECAST = 50
"""Only so many volumes are in the forecast, because each needs one count per step."""
VOLUMES_LISTED = 200
DEAD_LISTED = 30


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter."""

    volume: Volume
    buried_ms: int
    record: FileRecord


@dataclass(frozen=True, slots=True)
class Snapshot:
    """
    The fleet at about one time.

    Attributes:
        problems: those of the whole fleet, and of the disks of this process.
        forecast: the number of files that fall due in each of the next STEPS steps.
    """

    now_ms: int
    host: str
    hosts: Sequence[Host]
    volumes: Mapping[Volume, VolumeStats]
    forecast: Sequence[int]
    sweeps: Sequence[tuple[int, Sweep]]
    dead: Sequence[DeadLetter]
    memory: Memory | None
    problems: Sequence[Problem]

    @property
    def silent(self) -> list[Host]:
        return [host for host in self.hosts if not host.live]

    def total(self, name: str) -> int:
        """The sum of an attribute of VolumeStats over the fleet."""
        return sum(getattr(stats, name) for stats in self.volumes.values())

    def of_host(self, host: str, name: str) -> int:
        return sum(getattr(stats, name) for volume, stats in self.volumes.items() if volume.host == host)

    @property
    def overdue_seconds(self) -> float:
        return max((stats.overdue_seconds for stats in self.volumes.values()), default=0)

    @property
    def lag(self) -> Histogram:
        return merged([stats.histogram("lag") for stats in self.volumes.values()])


def take_snapshot(fleet: Fleet, settings: Settings, *, disk_problems: Sequence[Problem] = ()) -> Snapshot:
    """
    Read the snapshot for a process with *settings* and the *disk_problems* of its own disks. Raises the errors of
    Fleet's methods.
    """
    volumes = fleet.stats(fleet.volumes())
    largest = sorted((v for v in volumes if volumes[v].waiting), key=lambda v: -volumes[v].waiting)[
        :VOLUMES_FORECAST
    ]
    forecast = fleet.forecast(largest, step_seconds=STEP_SECONDS, steps=STEPS)
    pulse, memory = fleet.pulse(), fleet.memory()
    facts = facts_of(settings, pulse, volumes, memory=memory)
    return Snapshot(
        now_ms=pulse.now_ms,
        host=settings.host,
        hosts=pulse.hosts,
        volumes=volumes,
        forecast=[sum(step) for step in zip(*forecast.values(), strict=True)] or [0] * STEPS,
        sweeps=pulse.sweeps,
        dead=newest_dead_letters(fleet, volumes),
        memory=memory,
        problems=[*problems_of(facts), *disk_problems],
    )


def newest_dead_letters(fleet: Fleet, volumes: Mapping[Volume, VolumeStats]) -> list[DeadLetter]:
    """The newest dead letters of the fleet."""
    letters: list[DeadLetter] = []
    for volume, stats in volumes.items():
        if stats.dead:
            latest = fleet.registry(volume).latest_dead(limit=DEAD_LISTED)
            letters += [DeadLetter(volume, buried_ms, record) for buried_ms, record in latest]
    return sorted(letters, key=lambda letter: -letter.buried_ms)[:DEAD_LISTED]


def merged(histograms: Sequence[Histogram]) -> Histogram:
    """The sum of histograms that have the same bounds."""
    bounds = list(dict.fromkeys(bound for histogram in histograms for bound in histogram.buckets))
    return Histogram(
        buckets={bound: sum(h.buckets.get(bound, 0) for h in histograms) for bound in bounds},
        sum_seconds=sum(h.sum_seconds for h in histograms),
    )
