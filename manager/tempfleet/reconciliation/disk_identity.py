"""
Checks that the files of the registry are on the disk that is here.

If nothing is mounted at a base directory that is a mount point, it is still a directory, and an empty one. Every file
would be missing, its record dropped, and the file leaked on the disk that is not here. So the registry stores the
identity of its base directory with its first file. The identity survives reboots and remounts. On a disk with another
identity nothing is claimed until a person accepts it (tempfleet accept-disk).

Some directories are expected to be created anew: those in a tmpfs, and those in the system's temp directory. If such a
directory is new, it is accepted. A disk that is mounted below the temp directory is not such a place.
"""

from __future__ import annotations

import os
import tempfile

from ..errors import VolumeUnavailable
from ..filesystem import Roots
from ..logs import printable
from ..registry import DISK, VolumeStats

REASON = "another-disk"

EPHEMERAL = "~"
"""Prefix of the identity of a directory that is expected to be created anew."""


def disk_identity_of(roots: Roots) -> str:
    """Returns what a registry stores about its base directory, "" if its identity is not known."""
    identity = roots.base_identity()
    return EPHEMERAL + identity if identity and _is_ephemeral(roots) else identity


def confirm_disk(stats: VolumeStats, roots: Roots, *, accept_new: bool = True) -> None:
    """
    Args:
        accept_new: a directory that is expected to be created anew may be a new one.

    Raises:
        VolumeUnavailable: the registry has files, and they are on another disk.
    """
    current, stored = disk_identity_of(roots), stats.meta.get(DISK, "")
    if not (current and stored and stats.records) or current == stored:
        return
    if accept_new and current.startswith(EPHEMERAL) and stored.startswith(EPHEMERAL):
        return
    path = roots.base.path
    raise VolumeUnavailable(
        f"{printable(path)} is not the directory that its records were made for: is its disk mounted? "
        "No file was claimed. If this directory is the right one: tempfleet accept-disk.",
        base_dir=path,
        reason=REASON,
    )


def _is_ephemeral(roots: Roots) -> bool:
    if roots.is_in_memory():
        return True
    temporary = os.path.realpath(tempfile.gettempdir())
    return roots.base.path.startswith(temporary + os.sep) and roots.base.device == os.stat(temporary).st_dev
