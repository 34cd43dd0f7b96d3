"""
What is counted of a volume: numbers as the scripts keep them, and the histograms' bounds.

Counters live in Redis because the process that did the work may be gone: a killed worker loses none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from .codec import groups
from .keys import NOT_SERVED

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
LEFT = ("deleted", "missing", "replaced", "released", "moved_out")


def bounds_text(name: str) -> str:
    """The histogram's bounds as the scripts read them; also the names of their fields."""
    return " ".join(format(bound, "g") for bound in BOUNDS_SECONDS[name])


def bucket_of(name: str, seconds: float) -> str:
    """The upper bound of the bucket that *seconds* falls into."""
    for bound in BOUNDS_SECONDS[name]:
        if seconds <= bound:
            return format(bound, "g")
    return "+Inf"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by upper bound (not cumulative), and the sum of what was measured."""

    buckets: dict[str, int]
    sum_seconds: float

    @property
    def count(self) -> int:
        return sum(self.buckets.values())

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound, how many were at or below it), rising; the form that Prometheus wants."""
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
    """What a process of the volume says of a plug-in that it has switched off: which, what of it, and why."""

    plugin: str
    hook: str
    said: str


@dataclass(frozen=True, slots=True)
class VolumeStats:
    """
    One volume at one instant, counted by the registry.

    Attributes:
        waiting, leased, held, dead: files in each state; a file is in exactly one.
        behind: registrations that wait until the file before them is settled.
        retrying: files that failed and are tried again; dead letters are not.
        due: waiting files whose time has come.
        overdue_seconds: how long the first of them has been due; 0 when nothing is due.
        totals: counters since the registry began; see ``registered`` and the others.
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

    @property
    def active(self) -> int:
        """Files under management, in whatever state."""
        return self.waiting + self.leased + self.held + self.dead

    @property
    def quarantined(self) -> int:
        """Files in their grace period; until it ends they are among those that wait."""
        return self.total("aside")

    @property
    def overdue_seconds(self) -> float:
        return max(self.now_ms - self.oldest_ms, 0) / 1000 if self.oldest_ms is not None else 0.0

    @property
    def imbalance(self) -> int:
        """Invariant 1: what entered, less what left, less what is here. Anything but 0 is damage."""
        entered = sum(self.total(name) for name in ENTERED)
        left = sum(self.total(name) for name in LEFT)
        return entered - left - self.active

    @property
    def refused(self) -> str:
        """Why the worker of its host does not serve it, in one word; "" while it does, or has never looked."""
        return self.meta.get(NOT_SERVED, "")

    @property
    def bytes(self) -> int:
        return self.total("bytes")

    def total(self, name: str) -> int:
        return self.totals.get(name, 0)

    def totals_of(self, family: str) -> dict[str, int]:
        """Totals that are counted by a word, such as ``kept:EACCES``: word -> count."""
        named = (name.partition(":") for name in self.totals)
        return {
            word: self.total(f"{first}:{word}") for first, colon, word in named if colon and first == family
        }

    @property
    def plugins_off(self) -> list[PluginNote]:
        """The plug-ins, or hooks of them, that a process has switched off; see scripts/note.lua."""
        found = []
        for name, text in sorted(self.meta.items()):
            until, _, said = text.partition(" ")
            if name.startswith("plugin:") and until.isdigit() and int(until) > self.now_ms:
                plugin, _, hook = name.removeprefix("plugin:").rpartition(".")
                found.append(PluginNote(plugin, hook, said))
        return found

    def histogram(self, name: str) -> Histogram:
        fields = [*bounds_text(name).split(), "+Inf"]
        return Histogram(
            buckets={bound: self.total(f"{name}:{bound}") for bound in fields},
            sum_seconds=self.total(f"{name}_ms") / 1000,
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "waiting": self.waiting, "leased": self.leased, "held": self.held, "dead": self.dead,
            "active": self.active, "due": self.due, "overdue_seconds": self.overdue_seconds,
            "retrying": self.retrying, "behind": self.behind, "quarantined": self.quarantined,
            "bytes": self.bytes,
            "imbalance": self.imbalance, "totals": dict(sorted(self.totals.items())),
        }  # fmt: skip


def parse_stats(reply: Sequence[Any]) -> VolumeStats:
    """What scripts/stats.lua returns."""
    now_ms, *counts, oldest, totals, meta = reply
    waiting, leased, claims, held, dead, records, failed, behind, due = counts
    return VolumeStats(
        now_ms=int(now_ms),
        waiting=waiting, leased=leased, claims=claims, held=held, dead=dead,
        records=records, retrying=max(failed - dead, 0), behind=behind, due=due,
        oldest_ms=int(float(oldest)) if oldest else None,
        totals={name.decode(): int(value) for name, value in groups(totals, 2)},
        meta={name.decode(): value.decode() for name, value in groups(meta, 2)},
    )  # fmt: skip
