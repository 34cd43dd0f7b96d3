"""
Overwriting a file before it is unlinked (``TEMP_FILE_SECURE_DELETE``).

One pass of random bytes over what is allocated, then ``fdatasync``, through a descriptor of the very file. It
is no promise on an SSD (wear levelling keeps old blocks), on copy-on-write file systems (btrfs, ZFS, and
reflinks on XFS: the new bytes go elsewhere), in snapshots, in a data journal and in swap. Encrypting the disk
is.

A file with another hard link is left as it is: those bytes have another owner.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator

_BLOCK_BYTES = 1 << 20


def overwrite(fd: int, name: str, may_go_on: Callable[[], bool]) -> bool:
    """
    Overwrite and sync the regular file *name* of directory *fd*.

    Returns:
        False if it was stopped on the way: then the file is to be kept where it is. It goes from the end to the
        beginning and cuts off what it has done, so a file too large for one time budget is done in several.

    Raises:
        OSError: it could not be opened, written or synced; it must not be taken for overwritten.
    """
    opened = _open(fd, name)
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            return True
        noise = os.urandom(min(_BLOCK_BYTES, max(found.st_size, 1)))
        done_from = found.st_size
        for start, end in reversed([*_extents(opened, found.st_size)]):
            for offset in reversed(range(start, end, len(noise))):
                if not may_go_on():
                    _sync(opened)
                    os.ftruncate(opened, done_from)
                    return False
                _write(opened, noise[: end - offset], offset)
                done_from = offset
        _sync(opened)
    finally:
        os.close(opened)
    return True


def _write(opened: int, noise: bytes, offset: int) -> None:
    while noise:  # a disk that is all but full takes a part, and says so only the next time
        written = os.pwrite(opened, noise, offset)
        noise, offset = noise[written:], offset + written


def _sync(opened: int) -> None:
    os.fdatasync(opened) if hasattr(os, "fdatasync") else os.fsync(opened)


def _open(fd: int, name: str) -> int:
    flags = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(name, os.O_WRONLY | flags, dir_fd=fd)
    except PermissionError:  # read-only for its owner: allowed through a descriptor, then opened again
        reading = os.open(name, os.O_RDONLY | flags, dir_fd=fd)
        try:
            os.fchmod(reading, 0o600)
        finally:
            os.close(reading)
        return os.open(name, os.O_WRONLY | flags, dir_fd=fd)


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts that have data; overwriting the holes of a sparse file would fill the disk."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as exc:
            if exc.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            start, end = end, size  # the file system cannot tell
        yield start, min(end, size)
