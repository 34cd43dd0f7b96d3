"""
What the kind of a file system (its magic number, see statfs(2)) shows, and the UUID of one file system.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from enum import Enum
from pathlib import Path
from typing import Final

from .descriptors import close
from .libc import INT, libc

LASTING_HANDLES: Final = frozenset({0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0xF2F52010, 0xCA451A4E})
"""ext4, xfs, btrfs, tmpfs, f2fs, bcachefs: their handles contain inode and generation, and last as long as the file."""

IN_MEMORY: Final = frozenset({0x01021994, 0x858458F6})
"""tmpfs, ramfs."""

FUSE: Final = 0x65735546
OVERLAY: Final = 0x794C7630

KNOWN_ELSEWHERE: Final = frozenset(
    {
        *(FUSE, 0x6969, 0x517B, 0xFF534D42, 0xFE534D42, 0x01021997),  # FUSE, NFS, SMB 1 to 3, 9P
        *(0x00C36400, 0x0BD00BD0, 0x5346414F, 0x6B414653, 0x73757245),  # Ceph, Lustre, AFS (both), Coda
        *(0x01161970, 0x7461636F, 0x47504653, 0x19830326),  # GFS2, OCFS2, GPFS, BeeGFS
        *(0x20030528, 0xAAD7AAEA, 0xBEEFDEAD, 0x013111A8),  # OrangeFS, PanFS, StorNext, Ibrix
        *(0x61636673, 0x564C),  # ACFS, NetWare
        *(0x786F4256, 0xBACBACBC, 0x7C7C6673),  # shared folders of VirtualBox, VMware and Parallels
    }
)
"""
Other clients, or the program behind the mount, can have a file open there without this kernel knowing it. So its write
lock proves nothing.
"""


class WriteLocks(Enum):
    """What a write lock shows of a file's users on one file system."""

    NOTHING = "nothing"
    LOCAL = "local"  # refused: a process of this host has the file open. Granted: that proves nothing
    ALL = "all"


MAY_HANG: Final = KNOWN_ELSEWHERE | {0x0187}
"""Those, and autofs: a call there waits for a server or a program, for ever if that has stopped."""

_FS_IOC_GETFSUUID: Final = 0x80111500


def kind_of(fd: int) -> int:
    """The magic number of the file system of *fd*; 0 if it is not available. Only on Linux, like file handles."""
    buffer = ctypes.create_string_buffer(256)
    if libc().fstatfs(INT(fd), buffer):
        return 0
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def may_hang(path: str) -> bool:
    """Whether *path*, or a directory above it, is on a file system that waits for a server."""
    return any(_kind_at(at) in MAY_HANG for at in (path, *map(str, Path(path).parents)))


def _kind_at(path: str) -> int:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return kind_of(fd)
    finally:
        os.close(fd)


def uuid_of(directory: int) -> str:
    """
    The kernel reports the UUID since Linux 6.9, of ext4, XFS, Btrfs, F2FS, tmpfs and overlay. Before that only the
    symlinks of udev show it, of file systems on block devices. NFS and FUSE have none.
    """
    try:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return _uuid_from_udev(directory)
    try:
        answer = fcntl.ioctl(fd, _FS_IOC_GETFSUUID, bytes(17))
    except OSError:
        return _uuid_from_udev(directory)
    finally:
        close(fd)
    uuid = answer[1 : 1 + answer[0]]
    return uuid.hex() if any(uuid) else ""


def _uuid_from_udev(fd: int) -> str:
    device = os.fstat(fd).st_dev
    try:
        with os.scandir("/dev/disk/by-uuid") as links:
            return next((link.name.replace("-", "") for link in links if link.stat().st_rdev == device), "")
    except OSError:
        return ""
