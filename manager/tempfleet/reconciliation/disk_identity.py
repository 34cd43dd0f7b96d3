"""
Is this the disk that the registry's files are on?

A base directory that is a mount point is still a directory when nothing is mounted there, and an empty one: every
file would be found missing, forgotten, and leaked on the disk that is away. So the registry remembers the identity
of its base directory from its first file on; that outlives reboots and remounts, and nothing is claimed on any other
until a person says that it is right. Where directories are expected to be made anew (tmpfs, the system's temp
directory) a new one is taken without asking; a disk that is mounted below the temp directory is no such place.
"""

from __future__ import annotations

import os
import tempfile

from ..errors import VolumeUnavailable
from ..filesystem import Roots
from ..logs import printable
from ..registry import VolumeStats

REASON = "another-disk"

PASSING = "~"
"""Before the identity of a directory that is expected to be made anew."""


def identity_of(roots: Roots) -> str:
    """What a registry keeps of its base directory; "" where its identity cannot be known."""
    identity = roots.base_identity()
    return PASSING + identity if identity and _is_passing(roots) else identity


def confirm(stats: VolumeStats, roots: Roots, *, anew: bool = True) -> None:
    """
    Args:
        anew: a directory that is expected to be made anew may have been, since.

    Raises:
        VolumeUnavailable: the registry has files, and they are on another disk.
    """
    here, there = identity_of(roots), stats.meta.get("disk", "")
    if not (here and there and stats.records) or here == there:
        return
    if anew and here.startswith(PASSING) and there.startswith(PASSING):
        return
    path = roots.base.path
    raise VolumeUnavailable(
        f"{printable(path)} is not the directory that its records are of: is its disk mounted? "
        "Nothing was claimed. If it is right as it is: tempfleet accept-disk.",
        base_dir=path,
        reason=REASON,
    )


def _is_passing(roots: Roots) -> bool:
    if roots.is_in_memory():
        return True
    temporary = os.path.realpath(tempfile.gettempdir())
    return roots.base.path.startswith(temporary + os.sep) and roots.base.device == os.stat(temporary).st_dev
