"""
How full the file systems of a volume are, and the memory that holds some of them, against the marks of the settings.

The usage is read through the descriptors of the roots. So it is the usage of the disk that holds our files, even if
another disk was mounted over the path since.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from ..errors import VolumeUnavailable
from ..filesystem import Root, Roots
from ..logs import printable
from ..settings import Settings


class Kind(StrEnum):
    """The resource that is measured."""

    BYTES = "bytes"
    INODES = "inodes"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """
    How full one file system, or the memory, was at one moment.

    Attributes:
        path: a root on that file system.
        device: the device number of that file system.
        used, total: bytes, or inodes. As in df, the reserve of root is not part of the total.
        above, down_to: the high and the low mark, in percent.
    """

    path: str
    device: int
    kind: Kind
    used: int
    total: int
    above: int
    down_to: int

    @property
    def percent(self) -> float:
        return 100 * self.used / self.total

    @property
    def is_high(self) -> bool:
        return self.used * 100 > self.total * self.above

    @property
    def is_low(self) -> bool:
        return self.used * 100 <= self.total * self.down_to

    @property
    def excess(self) -> int:
        """The bytes or inodes above the low mark."""
        return max(self.used - self.total * self.down_to // 100, 0)

    def __str__(self) -> str:
        resource = "memory" if self.kind is Kind.MEMORY else f"{self.kind.value} of the file system"
        return f"{self.percent:.1f} % of the {resource} under {printable(self.path)} are in use"

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "kind": self.kind,
            "used": self.used,
            "total": self.total,
            "percent": round(self.percent, 2),
            "above": self.above,
            "down_to": self.down_to,
        }


def is_watched(settings: Settings) -> bool:
    """Whether any mark is set."""
    return bool(settings.evict_above or settings.evict_memory_above)


def disk_usages(roots: Roots, settings: Settings) -> list[DiskUsage]:
    """Returns one usage for each mark and file system of the roots; roots that are not available now are left out."""
    systems = {root.device: root for root in roots if is_watched(settings) and not root.moved()}
    usages = []
    for root in systems.values():
        try:
            usages += root.calls.ask(partial(_measured, root, roots, settings))
        except VolumeUnavailable:
            continue
    return usages


def _measured(root: Root, roots: Roots, settings: Settings) -> list[DiskUsage]:
    with roots.use():
        return [usage for usage in _measure(root, roots, settings) if usage.total]


def measure_again(before: Sequence[DiskUsage], roots: Roots, settings: Settings) -> list[DiskUsage]:
    """Returns the same usages, measured now."""
    measured = {(usage.device, usage.kind) for usage in before}
    return [usage for usage in disk_usages(roots, settings) if (usage.device, usage.kind) in measured]


def _measure(root: Root, roots: Roots, settings: Settings) -> Iterator[DiskUsage]:
    if settings.evict_above:
        marks = settings.evict_above, settings.evict_down_to
        disk = os.fstatvfs(root.fd)
        used, files = disk.f_blocks - disk.f_bfree, disk.f_files - disk.f_ffree
        # A tmpfs without a limit has no blocks.
        total = (used + disk.f_bavail) * disk.f_frsize if disk.f_blocks else 0
        yield DiskUsage(root.path, root.device, Kind.BYTES, used * disk.f_frsize, total, *marks)
        # Btrfs has no limit of inodes.
        inodes = files + disk.f_favail if disk.f_files else 0
        yield DiskUsage(root.path, root.device, Kind.INODES, files, inodes, *marks)
    if settings.evict_memory_above and roots.system.is_in_memory(root.fd):
        # Imported here, because few volumes lie in memory and the import of psutil takes 2 % of ours.
        import psutil

        memory = psutil.virtual_memory()
        used = memory.total - memory.available
        marks = settings.evict_memory_above, settings.evict_memory_down_to
        yield DiskUsage(root.path, root.device, Kind.MEMORY, used, memory.total, *marks)
