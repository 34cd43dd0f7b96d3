"""
Takes over the records of a host that does not come back, on the host that has its disk now.

The records move unchanged from the volume of the old host to ours of the same base directory: deadlines, holds with
their reasons, dead letters, failures, quarantined files. The files do not move. Whether a file is still the one that
was registered is compared when it is deleted, as always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import HostLive, UnknownHost, VolumeUnavailable
from ..filesystem import NOT_ANSWERING, Roots
from ..logs import printable
from ..records import FileRecord, State
from ..registry import DISKS, Fleet, Registry, Volume
from .disk_identity import REASON, confirm_disk
from .root_disks import elsewhere_of

MOST_LISTED = 100
"""Paths that the report lists."""


@dataclass(slots=True)
class Takeover:
    """
    What a takeover did, in counts.

    Attributes:
        entered: records that are ours now.
        left: records that stayed, by reason: ``leased`` (a dead claimer has them until its lease runs out: take over
            again then), ``taken`` (the path already has a record here), ``damaged``, ``another-disk`` (of another root
            than the base directory, which is another directory here).
        taken: the first hundred paths of the taken records: a person decides which record is right.
    """

    host: str
    base_dir: str
    entered: int = 0
    left: Counter[str] = field(default_factory=Counter)
    taken: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "base_dir": self.base_dir,
            "entered": self.entered,
            "left": dict(self.left),
            "taken": self.taken,
        }


def take_over(
    host: str,
    registry: Registry,
    roots: Roots,
    fleet: Fleet,
    *,
    progress: Callable[[int], None] | None = None,
) -> Takeover:
    """
    Move the records of *host* into our *registry*.

    Raises:
        UnknownHost: *host* has no volume of this base directory.
        HostLive: a worker of *host* is live.
        VolumeUnavailable: the records were made for files on another disk than the one that is here.
        RegistryError: some records may have moved; repeat the call for the rest.
    """
    old = source_registry(host, registry, roots, fleet)
    fleet.reap([old.volume])
    report = Takeover(host, old.volume.base_dir)
    elsewhere = elsewhere_of(old.stats().meta.get(DISKS, ""), roots, accept_new=False)
    for page in old.paths():
        here = [path for path in page if not elsewhere.reason_of(path)]
        report.left += Counter({REASON: len(page) - len(here)})
        codes = registry.take_over(old, here)
        report.entered += sum(code == "entered" for code in codes.values())
        report.left += Counter(code for code in codes.values() if code not in ("entered", "absent"))
        taken = [path for path, code in codes.items() if code == "taken"]
        report.taken += taken[: MOST_LISTED - len(report.taken)]
        if progress is not None:
            progress(report.entered)
    return report


def preview_takeover(host: str, registry: Registry, roots: Roots, fleet: Fleet) -> Takeover:
    """Returns what ``take_over`` would do now; changes nothing, and raises as ``take_over`` does."""
    old = source_registry(host, registry, roots, fleet)
    reapable = {path for page in old.reapable_paths() for path in page}
    report = Takeover(host, old.volume.base_dir)
    elsewhere = elsewhere_of(old.stats().meta.get(DISKS, ""), roots, accept_new=False)
    for page in old.paths():
        _, theirs = old.read(page)
        _, ours = registry.read(page)
        for record, ours_now in zip(theirs, ours, strict=True):
            if record is None:
                continue
            if elsewhere.reason_of(record.path):
                report.left[REASON] += 1
            elif record.state is State.LEASED and record.path not in reapable:
                report.left["leased"] += 1
            elif ours_now is not None and not _is_same(ours_now, record):
                report.left["taken"] += 1
                report.taken += [record.path][: MOST_LISTED - len(report.taken)]
            else:
                report.entered += 1
    return report


def _is_same(ours: FileRecord, theirs: FileRecord) -> bool:
    """Whether an interrupted takeover already moved this record here."""
    return (ours.registered_ms, ours.identity) == (theirs.registered_ms, theirs.identity)


def source_registry(host: str, registry: Registry, roots: Roots, fleet: Fleet) -> Registry:
    """Returns the registry that would be taken over; raises as ``take_over`` does."""
    ours = registry.volume
    base_dirs = [volume.base_dir for volume in fleet.volumes(host=host)]
    if host == ours.host or ours.base_dir not in base_dirs:
        listed = ", ".join(map(printable, base_dirs)) or "nothing"
        why = "this is that host" if host == ours.host else f"that host has {listed}"
        raise UnknownHost(
            f"There is nothing to take over from {printable(host)!r} in {printable(ours.base_dir)}: {why}.",
            host=host,
        )
    if host in fleet.live_hosts():
        raise HostLive(
            f"A worker of {printable(host)} is live, so its records are in use. Stop that worker first.",
            host=host,
        )
    old = fleet.registry(Volume(host, ours.base_dir))
    _confirm_disk(old, roots)
    return old


def _confirm_disk(old: Registry, roots: Roots) -> None:
    try:
        # Every machine has a temp directory of that name, so a new one proves nothing.
        confirm_disk(old.stats(), roots, accept_new=False)
    except VolumeUnavailable as exc:
        if exc.reason == NOT_ANSWERING:
            raise
        raise VolumeUnavailable(
            f"{printable(old.volume.base_dir)} is not the directory that the records of {printable(old.volume.host)} "
            "were made for: mount its disk. If this is a copy of that disk, tempfleet adopt registers the files again.",
            base_dir=exc.base_dir,
            reason=exc.reason,
        ) from None
