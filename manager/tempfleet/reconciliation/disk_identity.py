"""
Checks that the files of the registry are on the disk that is here.

If nothing is mounted at a base directory that is a mount point, it is still a directory, and an empty one. Every file
would be missing, its record dropped, and the file leaked on the disk that is not here. So the registry stores the
identity of its base directory with its first file. The identity survives reboots and remounts. On a disk with another
identity nothing is claimed until a person accepts it (tempfleet accept-disk).

Some directories are expected to be created anew: those in a tmpfs, and those in the system's temp directory. If such a
directory is new, it is accepted, but only in the same place: another mount namespace (``PrivateTmp=`` of systemd,
another container with this host's name) has another temp directory under the same path, and its files are elsewhere. A
tmpfs of before the last boot is gone, so a new one is accepted. A disk that is mounted below the temp directory is not
such a place, nor is a directory that is bound there.

    <directory>@<file system>                        a directory that lasts
    ~<directory>@<file system>~<temp directory>      one in the temp directory of a disk
    ~<directory>@<file system>~<temp directory>~<boot>.<device>      one in memory

The UUID of the file system tells apart two that were made in the same second. Only facts that both sides have are
compared: another process may see less of a directory.

The same is true of each other root that files were registered in (``root_disks``). If it is another directory here,
only its files wait, and only registering in it is refused.
"""

from __future__ import annotations

import os
import tempfile

from ..errors import VolumeUnavailable
from ..filesystem import DIRECTORY_FLAGS, Identity, Roots, close, directory_identity
from ..logs import printable
from ..registry import DISK, VolumeStats

REASON = "another-disk"

EPHEMERAL = "~"
"""Separates the place of a directory that is expected to be created anew; its identity also begins with it."""

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def disk_identity_of(roots: Roots) -> str:
    """
    Returns what a registry stores about its base directory, "" if its identity is not known.

    Raises:
        VolumeUnavailable: the base directory does not answer.
    """
    base = roots.base
    return base.calls.ask(lambda: identity_of_directory(roots, base.path, base.fd))


def identity_of_directory(roots: Roots, path: str, fd: int) -> str:
    """As ``disk_identity_of``, of the open directory *fd*, which has the resolved *path*. Waits for its disk."""
    with roots.use():
        identity = directory_identity(roots.system, fd)
        if not identity:
            return ""
        temporary = _temp_directory_above(roots, path, fd, identity)
        if roots.system.is_in_memory(fd):
            place = f"{temporary}{EPHEMERAL}{_boot_id()}.{os.fstat(fd).st_dev:x}"
        elif temporary:
            place = temporary
        else:
            return identity
        return f"{EPHEMERAL}{identity}{EPHEMERAL}{place}"


def confirm_disk(stats: VolumeStats, roots: Roots, *, accept_new: bool = True) -> None:
    """
    Args:
        accept_new: a directory that is expected to be created anew may be a new one.

    Raises:
        VolumeUnavailable: the registry has files, and they are on another disk.
    """
    current, stored = disk_identity_of(roots), stats.meta.get(DISK, "")
    if not (current and stored and stats.records) or is_same(current, stored):
        return
    if accept_new and is_same_place(current, stored):
        return
    path = roots.base.path
    raise VolumeUnavailable(
        f"{printable(path)} is not the directory that its records were made for: is its disk mounted? "
        "No file was claimed. If this directory is the right one: tempfleet accept-disk.",
        base_dir=path,
        reason=REASON,
    )


def is_same(current: str, stored: str) -> bool:
    """Whether both are the same directory, wherever it is."""
    return _is_same_directory(current.split(EPHEMERAL)[:2], stored.split(EPHEMERAL)[:2])


def _is_same_directory(current: list[str], stored: list[str]) -> bool:
    pairs = [(a.partition("@"), b.partition("@")) for a, b in zip(current, stored, strict=False)]
    return len(current) == len(stored) and all(
        Identity(a[0]).agrees_with(Identity(b[0])) and (a[2] == b[2] or not (a[2] and b[2])) for a, b in pairs
    )


def is_same_place(current: str, stored: str) -> bool:
    """Whether both are expected to be created anew, and in the same place."""
    if not (current.startswith(EPHEMERAL) and stored.startswith(EPHEMERAL)):
        return False
    here, before = current.split(EPHEMERAL)[2:], stored.split(EPHEMERAL)[2:]
    if len(here) == len(before) == 2 and here[1].partition(".")[0] != before[1].partition(".")[0]:
        return True  # the memory of before the boot is gone
    return _is_same_directory(here[:1], before[:1]) and here[1:] == before[1:]


def _temp_directory_above(roots: Roots, path: str, opened: int, identity: str) -> str:
    """
    The identity of the system's temp directory if *path* is in it, on the same file system; else "". If *path* is bound
    there (``mount --bind``, ``BindPaths=``), its own *identity*: whatever else has that path is in another place.

    Args:
        opened: the directory *path*.
    """
    temporary = os.path.realpath(tempfile.gettempdir())
    if not path.startswith(temporary + os.sep):
        return ""
    fd = os.open(temporary, DIRECTORY_FLAGS)
    try:
        if os.fstat(opened).st_dev != os.fstat(fd).st_dev:
            return ""
        is_bound = roots.system.mount_id(opened) != roots.system.mount_id(fd)
        return identity if is_bound else directory_identity(roots.system, fd)
    finally:
        close(fd)


def _boot_id() -> str:
    try:
        with open(BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
