"""
What the status page shows, read from the registry in a few round trips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..diagnostics import clock_problem
from ..formatting import counted, duration
from ..records import FileRecord
from ..registry import Fleet, Histogram, Host, Memory, Sweep, Volume, VolumeStats

STEP_SECONDS = 60
STEPS = 60
VOLUMES_FORECAST = 50
"""Only so many volumes are in the forecast, because each needs one count per step."""
VOLUMES_LISTED = 200
DEAD_LISTED = 30
FULL = 0.85


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
    missing_roots: Mapping[str, str]
    sweep_interval_seconds: float

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

    @property
    def warnings(self) -> list[str]:
        """Problems that a person should look at."""
        warnings = [
            f"Root {root} of this worker is unavailable: {why}" for root, why in self.missing_roots.items()
        ]
        for host in self.silent:
            if due := self.of_host(host.name, "due"):
                warnings.append(f"{host.name} is silent, and {due:,} of its files are due")
        if imbalance := sum(abs(stats.imbalance) for stats in self.volumes.values()):
            warnings.append(f"Counts do not balance by {imbalance:,}")
        if dead := self.total("dead"):
            warnings.append(f"{counted(dead, 'file')} could not be deleted; a person must decide")
        for volume, stats in self.volumes.items():
            warnings += [
                f"{volume.host} has switched off the plug-in {note.plugin} ({note.hook}: {note.said})"
                for note in stats.plugins_off
            ]
        problems = map(clock_problem, self.volumes.values())
        warnings += sorted({problem.text for problem in problems if problem is not None})
        if self.overdue_seconds > 3 * self.sweep_interval_seconds:
            warnings.append(f"Files are overdue by {duration(self.overdue_seconds)}")
        if self.sweeps and self.now_ms - self.sweeps[0][0] > 3000 * self.sweep_interval_seconds:
            warnings.append("No sweep for three intervals: does beat run?")
        if self.memory and self.memory.max_bytes and self.memory.used_bytes > FULL * self.memory.max_bytes:
            warnings.append("Redis is near its maxmemory")
        return warnings


def take_snapshot(
    fleet: Fleet, *, host: str, missing_roots: Mapping[str, str], sweep_interval_seconds: float
) -> Snapshot:
    """
    Read the snapshot. Raises the errors of Fleet's methods.
    """
    volumes = fleet.stats(fleet.volumes())
    largest = sorted((v for v in volumes if volumes[v].waiting), key=lambda v: -volumes[v].waiting)[
        :VOLUMES_FORECAST
    ]
    forecast = fleet.forecast(largest, step_seconds=STEP_SECONDS, steps=STEPS)
    now_ms, sweeps = fleet.sweeps()
    return Snapshot(
        now_ms=now_ms,
        host=host,
        hosts=fleet.hosts(),
        volumes=volumes,
        forecast=[sum(step) for step in zip(*forecast.values(), strict=True)] or [0] * STEPS,
        sweeps=sweeps,
        dead=newest_dead_letters(fleet, volumes),
        memory=fleet.memory(),
        missing_roots=missing_roots,
        sweep_interval_seconds=sweep_interval_seconds,
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
