"""
How full the file systems of a volume are, and the memory that some of them live in, against the marks of the settings.

Asked of the roots' own descriptors: whatever is mounted over a path meanwhile, the answer is about the disk that our
files are on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psutil

from ..filesystem import Root, Roots
from ..logs import printable
from ..settings import Settings


class Kind(StrEnum):
    """What runs short."""

    BYTES = "bytes"
    INODES = "inodes"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """
    How full one thing was at one moment.

    Attributes:
        path: a root on that file system.
        device: of that file system.
        used, total: bytes, or inodes. As df counts: what is kept back for root is not part of the total.
        above, down_to: the marks, in percent.
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
    def wanted(self) -> int:
        """How many bytes or inodes must go, to be down at the low mark."""
        return max(self.used - self.total * self.down_to // 100, 0)

    def __str__(self) -> str:
        what = "memory" if self.kind is Kind.MEMORY else f"{self.kind.value} of the file system"
        return f"{self.percent:.1f} % of the {what} under {printable(self.path)} are in use"

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": self.path, "kind": self.kind, "used": self.used, "total": self.total,
            "percent": round(self.percent, 2), "above": self.above, "down_to": self.down_to,
        }  # fmt: skip


def is_watched(settings: Settings) -> bool:
    """Whether there is any mark."""
    return bool(settings.evict_above or settings.evict_memory_above)


def readings(roots: Roots, settings: Settings) -> list[DiskUsage]:
    """One for each mark and file system that the roots are on; roots that are away now are left out."""
    systems = {root.device: root for root in roots if is_watched(settings) and not root.moved()}
    return [reading for root in systems.values() for reading in _of(root, roots, settings) if reading.total]


def again(before: Sequence[DiskUsage], roots: Roots, settings: Settings) -> list[DiskUsage]:
    """The same things, measured now."""
    seen = {(reading.device, reading.kind) for reading in before}
    return [reading for reading in readings(roots, settings) if (reading.device, reading.kind) in seen]


def _of(root: Root, roots: Roots, settings: Settings) -> Iterator[DiskUsage]:
    if settings.evict_above:
        marks = settings.evict_above, settings.evict_down_to
        found = os.fstatvfs(root.fd)
        used, files = found.f_blocks - found.f_bfree, found.f_files - found.f_ffree
        total = (used + found.f_bavail) * found.f_frsize if found.f_blocks else 0  # a tmpfs without a limit
        yield DiskUsage(root.path, root.device, Kind.BYTES, used * found.f_frsize, total, *marks)
        inodes = files + found.f_favail if found.f_files else 0  # btrfs has no limit
        yield DiskUsage(root.path, root.device, Kind.INODES, files, inodes, *marks)
    if settings.evict_memory_above and roots.system.is_in_memory(root.fd):
        memory = psutil.virtual_memory()
        used, marks = (
            memory.total - memory.available,
            (settings.evict_memory_above, settings.evict_memory_down_to),
        )
        yield DiskUsage(root.path, root.device, Kind.MEMORY, used, memory.total, *marks)
