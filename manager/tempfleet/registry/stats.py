"""
The counters of a volume, as the scripts store them, and the bounds of the histograms.

Counters are in Redis, so that a killed worker loses none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

from .codec import groups
from .keys import NOT_SERVED, SCHEMA, SLACK, UNAVAILABLE

AGE_BOUNDS_SECONDS = (1, 10, 60, 300, 900, 3600, 4 * 3600, 86400, 3 * 86400, 7 * 86400, 30 * 86400)
LAG_BOUNDS_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 86400)
DURATION_BOUNDS_SECONDS = (0.005, 0.025, 0.1, 0.5, 1, 5, 15, 30, 60, 300)

BOUNDS_SECONDS = {
    "age": AGE_BOUNDS_SECONDS,
    "lag": LAG_BOUNDS_SECONDS,
    "duration": DURATION_BOUNDS_SECONDS,
    "sweep": DURATION_BOUNDS_SECONDS,
}

ENTERED = ("registered",)
PASSES = "passes"
"""The total of the clean-ups that looked for due files, of workers and of programs: somebody cleans this volume."""
LEFT = ("deleted", "missing", "replaced", "released", "moved_out", "forgotten")


def bounds_text(name: str) -> str:
    """The histogram's bounds as the scripts read them. Each bound is also the name of its bucket's field."""
    return " ".join(format(bound, "g") for bound in BOUNDS_SECONDS[name])


def bucket_of(name: str, seconds: float) -> str:
    """The upper bound of the bucket that *seconds* belongs to."""
    for bound in BOUNDS_SECONDS[name]:
        if seconds <= bound:
            return format(bound, "g")
    return "+Inf"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by upper bound (not cumulative), and the sum of the measured times."""

    buckets: dict[str, int]
    sum_seconds: float

    @property
    def count(self) -> int:
        return sum(self.buckets.values())

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, number of values at or below it), rising, as Prometheus expects it."""
        bounds, counts = self.buckets.keys(), accumulate(self.buckets.values())
        return list(zip(bounds, map(float, counts), strict=True))

    def quantile(self, share: float) -> tuple[float, float] | None:
        """
        The bounds, in seconds, of the bucket that holds the *share*-th measurement; the last bucket's upper bound is
        infinite. None if there is no measurement.
        """
        wanted, lower = self.count * share, 0.0
        for upper, count in self.cumulative():
            if count >= wanted > 0:
                return lower, float(upper)
            lower = float(upper)
        return None


@dataclass(frozen=True, slots=True)
class PluginNote:
    """A process of the volume has switched off one hook of a plug-in. *said*, a word of the JSON output, is why."""

    plugin: str
    hook: str
    said: str


@dataclass(frozen=True, slots=True)
class Pause:
    """No expired file is deleted for *seconds*. *reason* is "ahead" or "older"; see scripts/pause.lua."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class VolumeStats:
    """
    The counts of one volume at one point in time.

    Attributes:
        waiting, leased, held, dead: files in each state; a file is in exactly one.
        behind: registrations that wait until the claimed file of the same path is settled.
        retrying: files whose deletion failed and is retried, without dead letters.
        due: waiting files whose deadline, or next retry, has passed.
        oldest_ms: the earliest due time of a waiting file; None if none waits.
        keepers: the keepers of all held files.
        totals: counters since the registry's first file.
        meta: facts about the volume, such as DISK and FULL in keys.py.
    """

    now_ms: int
    waiting: int
    leased: int
    claims: int
    held: int
    dead: int
    records: int
    retrying: int
    behind: int
    due: int
    oldest_ms: int | None
    totals: dict[str, int] = field(default_factory=dict)
    meta: dict[str, str] = field(default_factory=dict)
    keepers: int = 0

    @property
    def active(self) -> int:
        """Managed files, in any state."""
        return self.waiting + self.leased + self.held + self.dead

    @property
    def quarantined(self) -> int:
        """Quarantined files. They are part of the waiting files."""
        return self.total("aside")

    @property
    def overdue_seconds(self) -> float:
        """How long the earliest due file has been due; 0 if none is due."""
        past_ms = self.now_ms - self.slack_ms
        return max(past_ms - self.oldest_ms, 0) / 1000 if self.oldest_ms is not None else 0.0

    @property
    def slack_ms(self) -> int:
        """How far Redis's clock jumped ahead; deadlines pass so much later."""
        return int(self.meta.get(SLACK, 0))

    @property
    def has_jumped(self) -> bool:
        """Whether any jump of Redis's clock was ever recorded here."""
        return "clock_seq" in self.meta

    @property
    def pause(self) -> Pause | None:
        """None if expired files are deleted."""
        return self._pause()

    def paused_lately(self, reason: str, seconds: float) -> bool:
        """Whether a pause for *reason* lasts, or ended in the last *seconds*."""
        pause = self._pause(seconds)
        return pause is not None and pause.reason == reason

    def _pause(self, ended_seconds: float = 0) -> Pause | None:
        if "pause" not in self.meta:
            return None
        start, end, reason = self.meta["pause"].split(" ")
        steady_ms = self.now_ms - int(self.meta.get("jumped_ms", 0))
        is_over = not int(start) <= steady_ms < int(end) + ended_seconds * 1000
        return None if is_over else Pause(reason, (int(end) - steady_ms) / 1000)

    @property
    def imbalance(self) -> int:
        """Files that entered, minus files that left, minus active files. Any value but 0 means damage (invariant 1)."""
        entered = sum(self.total(name) for name in ENTERED)
        left = sum(self.total(name) for name in LEFT)
        return entered - left - self.active

    @property
    def not_served(self) -> str:
        """Why the worker of its host does not serve the volume, in one word; "" if it does, or has never tried."""
        return self.meta.get(NOT_SERVED, "")

    @property
    def unavailable(self) -> tuple[int, str, int]:
        """
        The due files that the last clean-up could not delete because of their disk, although their root is there: how
        many, the reason, which may have blanks, and when the last of them will have been tried again (ms).
        """
        files, _, rest = self.meta.get(UNAVAILABLE, "0 - 0").partition(" ")
        reason, _, until_ms = rest.rpartition(" ")
        return int(files), reason, int(until_ms)

    @property
    def schema(self) -> str:
        """The schema of the registry; ours if it never had a file."""
        return self.meta.get("schema", str(SCHEMA))

    @property
    def bytes(self) -> int:
        return self.total("bytes")

    def total(self, name: str) -> int:
        return self.totals.get(name, 0)

    def totals_of(self, family: str) -> dict[str, int]:
        """The totals of a family such as ``kept:EACCES``: word -> count."""
        start = f"{family}:"
        return {
            name.removeprefix(start): count for name, count in self.totals.items() if name.startswith(start)
        }

    @property
    def plugins_off(self) -> list[PluginNote]:
        """The hooks of plug-ins that a process has switched off; see scripts/record_plugin.lua."""
        notes = []
        for name, text in sorted(self.meta.items()):
            until, _, reason = text.partition(" ")
            if name.startswith("plugin:") and until.isdigit() and int(until) > self.now_ms:
                plugin, _, hook = name.removeprefix("plugin:").rpartition(".")
                notes.append(PluginNote(plugin, hook, reason))
        return notes

    def histogram(self, name: str) -> Histogram:
        fields = [*bounds_text(name).split(), "+Inf"]
        return Histogram(
            buckets={bound: self.total(f"{name}:{bound}") for bound in fields},
            sum_seconds=self.total(f"{name}_ms") / 1000,
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "waiting": self.waiting,
            "leased": self.leased,
            "held": self.held,
            "keepers": self.keepers,
            "dead": self.dead,
            "active": self.active,
            "due": self.due,
            "overdue_seconds": self.overdue_seconds,
            "retrying": self.retrying,
            "behind": self.behind,
            "quarantined": self.quarantined,
            "bytes": self.bytes,
            "imbalance": self.imbalance,
            "slack_seconds": self.slack_ms / 1000,
            "pause": None if self.pause is None else asdict(self.pause),
            "totals": dict(sorted(self.totals.items())),
        }


def parse_stats(reply: Sequence[Any]) -> VolumeStats:
    """From the reply of scripts/stats.lua."""
    now_ms, *counts, oldest, totals, meta = reply
    waiting, leased, claims, held, dead, records, failed, behind, due, keepers = counts
    return VolumeStats(
        now_ms=int(now_ms),
        waiting=waiting,
        leased=leased,
        claims=claims,
        held=held,
        dead=dead,
        records=records,
        retrying=max(failed - dead, 0),
        behind=behind,
        due=due,
        keepers=keepers,
        oldest_ms=int(float(oldest)) if oldest else None,
        totals={name.decode(): int(value) for name, value in groups(totals, 2)},
        meta={name.decode(): value.decode() for name, value in groups(meta, 2)},
    )
