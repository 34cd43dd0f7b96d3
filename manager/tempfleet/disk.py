"""
Is this the disk that the registry's files are on?

A base directory that is a mount point is still a directory when nothing is mounted there, and an empty one: every
file would be found missing, forgotten, and leaked on the disk that is away. So the registry remembers the identity
of its base directory from its first file on; that outlives reboots and remounts, and nothing is claimed on any other
until a person says that it is right. Where directories are expected to be made anew (tmpfs, the system's temp
directory) a new one is taken without asking.
"""

from __future__ import annotations

import os
import tempfile

from .deletion import Roots
from .errors import VolumeUnavailable
from .logs import printable
from .stats import VolumeStats

REASON = "another-disk"


def confirm(stats: VolumeStats, roots: Roots) -> None:
    """
    Raises:
        VolumeUnavailable: the registry has files, and they are on another disk.
    """
    here, there = roots.base_identity(), stats.meta.get("disk", "")
    if not (here and there and stats.records) or here == there or _is_volatile(roots):
        return
    path = roots.base.path
    raise VolumeUnavailable(
        f"{printable(path)} is not the directory that its records are of: is its disk mounted? "
        "Nothing was claimed. If it is right as it is: tempfleet accept-disk.",
        base_dir=path,
        reason=REASON,
    )


def _is_volatile(roots: Roots) -> bool:
    temporary = os.path.realpath(tempfile.gettempdir())
    return roots.base.path.startswith(temporary + os.sep) or roots.is_in_memory()
