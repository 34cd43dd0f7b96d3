"""What was to be shown, and whether it was: pure, from the counts of the registry and a look at the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite

from tempfleet import VolumeStats
from tempfleet.formatting import duration

LAG_ALLOWED_SECONDS = 15.0
"""A bucket of the registry's histogram: interval + lease + the restart of a worker, and some room."""


@dataclass(frozen=True, slots=True)
class Facts:
    """
    Attributes:
        files: how many there were to be.
        by_library, by_message: how they were registered, as the applications said.
        on_disk: by host, files that are left.
        killed: the host whose worker was killed; "" if it was never seen holding a lease.
        held: files that it had leased at its death, looked at after it.
    """

    files: int
    by_library: int
    by_message: int
    stats: Mapping[str, VolumeStats]
    on_disk: Mapping[str, int]
    killed: str
    held: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    value: str
    ok: bool
    note: str = ""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def verdict(facts: Facts) -> list[Row]:
    stats = facts.stats

    def total(name: str) -> int:
        return sum(each.total(name) for each in stats.values())

    registered, recovered, expired = total("registered"), total("recovered"), total("leases_expired")
    on_disk = sum(facts.on_disk.values())
    left = sum(each.active + each.behind for each in stats.values())
    imbalance = {host: each.imbalance for host, each in stats.items() if each.imbalance}
    return [
        Row(
            "Registered",
            f"{registered:,}",
            registered == facts.files == facts.by_library + facts.by_message,
            f"{facts.by_library:,} by the library, {facts.by_message:,} by message from the other host"
            if registered == facts.files
            else f"{facts.files:,} were to be",
        ),
        *(_deleted(host, each, recovered) for host, each in sorted(stats.items())),
        Row(
            "Killed holding a lease",
            facts.killed or "nobody",
            bool(facts.killed) and facts.held > 0,
            f"kill -9 with {facts.held:,} files leased"
            if facts.killed
            else "no worker was seen holding a lease; try again",
        ),
        Row(
            "Leases recovered",
            f"{expired:,}",
            expired >= 1,
            "returned to the registry when they ran out" if expired else "at least 1 was to be",
        ),
        Row(
            "Tried again",
            f"{recovered + total('failed'):,} files",
            recovered >= 1,
            f"{recovered:,} of the dead worker, {total('failed'):,} after a failure",
        ),
        _lag(stats),
        Row("Left on disk", f"{on_disk:,}", on_disk == 0, "looked at, file by file"),
        Row("Left in Redis", f"{left:,}", left == 0, "waiting, leased, held or dead"),
        Row(
            "Counts balance",
            "no" if imbalance else "yes",
            not imbalance,
            "registered = deleted + gone + still there"
            if not imbalance
            else ", ".join(f"{host} is out by {by}" for host, by in imbalance.items()),
        ),
    ]  # fmt: skip


def _deleted(host: str, stats: VolumeStats, recovered: int) -> Row:
    """
    A worker that is killed between unlinking and saying so leaves files that the next claim finds gone. They count
    as missing, never as deleted, and there are at most as many as were recovered.
    """
    registered, deleted, missing = (stats.total(name) for name in ("registered", "deleted", "missing"))
    gone = f" + {missing:,} unlinked just before the kill" if missing else ""
    return Row(
        f"Deleted by {host}",
        f"{deleted:,}",
        registered > 0 and deleted + missing == registered and missing <= recovered,
        f"of its {registered:,}{gone}",
    )


def _lag(stats: Mapping[str, VolumeStats]) -> Row:
    """From the histogram that the registry keeps of every deletion: its highest bucket that is not empty."""
    histograms = [each.histogram("lag") for each in stats.values()]
    bounds = {float(bound) for each in histograms for bound, n in each.buckets.items() if n}
    count = sum(each.count for each in histograms)
    worst = max(bounds, default=float("inf"))
    mean = sum(each.sum_seconds for each in histograms) / count if count else 0.0
    return Row(
        "Worst lag",
        f"at most {duration(worst)}" if isfinite(worst) else "unknown",
        worst <= LAG_ALLOWED_SECONDS,
        f"behind the deadline; {duration(mean)} on average, {duration(LAG_ALLOWED_SECONDS)} are allowed",
    )
