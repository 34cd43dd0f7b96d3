"""
Taking over the files of a host that does not come back, on the host that has its disk now.

The records move from the old host's volume to ours of the same base directory, as they are: deadlines, holds and their
reasons, dead letters, failures, what is in quarantine. The files do not move, and whether each is still the file that
was registered is compared when it is deleted, as always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import HostLive, UnknownHost, VolumeUnavailable
from ..filesystem import Roots
from ..logs import printable
from ..records import FileRecord, State
from ..registry import Fleet, Registry, Volume
from . import disk_identity as disk

TOLD = 100
"""Paths that are told one by one."""


@dataclass(slots=True)
class Takeover:
    """
    What became of a host's records.

    Attributes:
        entered: records that are ours now.
        left: records that stayed, by reason: ``leased`` (a dead claimer has them until its lease runs out: say it
            again then), ``taken`` (the path has a record of its own here), ``damaged``.
        taken: the paths of the taken, the first hundred: a person decides which record is right.
    """

    host: str
    base_dir: str
    entered: int = 0
    left: Counter[str] = field(default_factory=Counter)
    taken: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {
            "host": self.host, "base_dir": self.base_dir, "entered": self.entered, "left": dict(self.left),
            "taken": self.taken,
        }  # fmt: skip


def take_over(
    host: str,
    registry: Registry,
    roots: Roots,
    fleet: Fleet,
    *,
    progress: Callable[[int], None] | None = None,
) -> Takeover:
    """
    Have the records of *host* in the registry of ours.

    Raises:
        UnknownHost: it has no volume of this base directory.
        HostLive: a worker of it is live.
        VolumeUnavailable: its records are of files on another disk than the one that is here.
        RegistryError: what was taken over by then is ours, the rest is still there; say it again.
    """
    old = source(host, registry, roots, fleet)
    fleet.reap([old.volume])
    done = Takeover(host, old.volume.base_dir)
    for page in old.paths():
        codes = registry.take_over(old, page)
        done.entered += sum(code == "entered" for code in codes.values())
        done.left += Counter(code for code in codes.values() if code not in ("entered", "absent"))
        taken = [path for path, code in codes.items() if code == "taken"]
        done.taken += taken[: TOLD - len(done.taken)]
        if progress is not None:
            progress(done.entered)
    return done


def preview_takeover(host: str, registry: Registry, roots: Roots, fleet: Fleet) -> Takeover:
    """What ``take_over`` would come to now; changes nothing, and raises as it does."""
    old = source(host, registry, roots, fleet)
    back = {path for page in old.reapable_paths() for path in page}
    seen = Takeover(host, old.volume.base_dir)
    for page in old.paths():
        _, theirs = old.read(page)
        _, ours = registry.read(page)
        for record, known in zip(theirs, ours, strict=True):
            if record is None:
                continue
            if record.state is State.LEASED and record.path not in back:
                seen.left["leased"] += 1
            elif known is not None and not _is_same(known, record):
                seen.left["taken"] += 1
                seen.taken += [record.path][: TOLD - len(seen.taken)]
            else:
                seen.entered += 1
    return seen


def _is_same(ours: FileRecord, theirs: FileRecord) -> bool:
    """One that a takeover which was cut off had brought here already."""
    return (ours.registered_ms, ours.identity) == (theirs.registered_ms, theirs.identity)


def source(host: str, registry: Registry, roots: Roots, fleet: Fleet) -> Registry:
    """The registry that would be taken over; raises as ``take_over`` does."""
    ours = registry.volume
    theirs = [volume.base_dir for volume in fleet.volumes(host=host)]
    if host == ours.host or ours.base_dir not in theirs:
        has = ", ".join(map(printable, theirs)) or "nothing"
        why = "this is that host" if host == ours.host else f"it has {has}"
        raise UnknownHost(
            f"There is nothing to take over from {printable(host)!r} in {printable(ours.base_dir)}: {why}.",
            host=host,
        )
    if host in fleet.live_hosts():
        raise HostLive(
            f"A worker of {printable(host)} is live: its files are its own. Stop it first.", host=host
        )
    old = fleet.registry(Volume(host, ours.base_dir))
    _confirm_disk(old, roots)
    return old


def _confirm_disk(old: Registry, roots: Roots) -> None:
    try:
        disk.confirm(old.stats(), roots, anew=False)  # every machine has a temp directory of that name
    except VolumeUnavailable as exc:
        raise VolumeUnavailable(
            f"{printable(old.volume.base_dir)} is not the directory that the records of {printable(old.volume.host)} "
            "are of: mount its disk. Where this is a copy of it, tempfleet adopt registers the files anew.",
            base_dir=exc.base_dir,
            reason=exc.reason,
        ) from None
