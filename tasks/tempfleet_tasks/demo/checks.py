"""The checks at the end of the demo: pure, from the counts of the registry and the files left on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite

from tempfleet import VolumeStats
from tempfleet.formatting import duration

LAG_ALLOWED_SECONDS = 15.0
"""A bound of the registry's histogram: interval + lease + the restart of a worker, and some reserve."""


@dataclass(frozen=True, slots=True)
class Facts:
    """
    Attributes:
        files: the number of files that the demo should have registered.
        by_library, by_message: how many were registered in which way, as the applications count.
        on_disk: by host, the number of files that are left.
        killed: the host whose worker was killed; "" if the demo never saw it hold a lease.
        held: the number of files that this worker had leased, counted after its death.
    """

    files: int
    by_library: int
    by_message: int
    stats: Mapping[str, VolumeStats]
    on_disk: Mapping[str, int]
    killed: str
    held: int
    seconds: float

    def total(self, name: str) -> int:
        """One of the registry's totals, over all hosts."""
        return sum(stats.total(name) for stats in self.stats.values())


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    value: str
    ok: bool
    note: str = ""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def check_facts(facts: Facts) -> list[Check]:
    recovered = facts.total("recovered")
    return [
        _registered(facts),
        *(_deleted(host, stats, recovered) for host, stats in sorted(facts.stats.items())),
        _killed(facts),
        _leases_recovered(facts),
        _retried(facts),
        _lag(facts),
        *_leftovers(facts),
        _balance(facts),
    ]


def _registered(facts: Facts) -> Check:
    registered = facts.total("registered")
    note = (
        f"{facts.by_library:,} by the library, {facts.by_message:,} by message from the other host"
        if registered == facts.files
        else f"should be {facts.files:,}"
    )
    ok = registered == facts.files == facts.by_library + facts.by_message
    return Check("Registered", f"{registered:,}", ok, note)


def _deleted(host: str, stats: VolumeStats, recovered: int) -> Check:
    """
    A worker that is killed after unlinking a file, but before its ack, leaves a record without a file. The next claim
    counts the file as missing, not as deleted. There are at most as many of these as recovered files.
    """
    registered, deleted, missing = (stats.total(name) for name in ("registered", "deleted", "missing"))
    ok = registered > 0 and deleted + missing == registered and missing <= recovered
    unlinked = f" + {missing:,} unlinked just before the kill" if missing else ""
    return Check(f"Deleted by {host}", f"{deleted:,}", ok, f"of its {registered:,}{unlinked}")


def _killed(facts: Facts) -> Check:
    if not facts.killed:
        return Check("Killed holding a lease", "nobody", False, "no worker held a lease in time; try again")
    note = f"kill -9 with {facts.held:,} files leased"
    return Check("Killed holding a lease", facts.killed, facts.held > 0, note)


def _leases_recovered(facts: Facts) -> Check:
    expired = facts.total("leases_expired")
    note = "its files returned to the registry when it expired" if expired else "should be at least 1"
    return Check("Leases recovered", f"{expired:,}", expired >= 1, note)


def _retried(facts: Facts) -> Check:
    recovered, failed = facts.total("recovered"), facts.total("failed")
    note = f"{recovered:,} of the killed worker, {failed:,} after a failure"
    return Check("Tried again", f"{recovered + failed:,} files", recovered >= 1, note)


def _lag(facts: Facts) -> Check:
    """Uses the registry's histogram of every deletion: its highest bucket that is not empty."""
    histograms = [stats.histogram("lag") for stats in facts.stats.values()]
    bounds = {float(bound) for histogram in histograms for bound, n in histogram.buckets.items() if n}
    count = sum(histogram.count for histogram in histograms)
    worst = max(bounds, default=float("inf"))
    mean = sum(histogram.sum_seconds for histogram in histograms) / count if count else 0.0
    value = f"at most {duration(worst)}" if isfinite(worst) else "unknown"
    note = f"after the deadline; {duration(mean)} on average, {duration(LAG_ALLOWED_SECONDS)} are allowed"
    return Check("Worst lag", value, worst <= LAG_ALLOWED_SECONDS, note)


def _leftovers(facts: Facts) -> list[Check]:
    on_disk = sum(facts.on_disk.values())
    records = sum(stats.active + stats.behind for stats in facts.stats.values())
    return [
        Check("Left on disk", f"{on_disk:,}", on_disk == 0, "counted, file by file"),
        Check("Left in Redis", f"{records:,}", records == 0, "waiting, leased, held or dead"),
    ]


def _balance(facts: Facts) -> Check:
    imbalance = {host: stats.imbalance for host, stats in facts.stats.items() if stats.imbalance}
    if not imbalance:
        return Check("Counts balance", "yes", True, "registered = deleted + gone + still there")
    differences = ", ".join(f"{host} is out by {difference}" for host, difference in imbalance.items())
    return Check("Counts balance", "no", False, differences)
