"""
Overwrite a file before it is unlinked (``TEMP_FILE_SECURE_DELETE``).

One pass of random bytes over the allocated blocks, then ``fdatasync``, through a descriptor of the file. This promises
nothing on an SSD (wear levelling keeps old blocks) and on copy-on-write file systems (btrfs, ZFS, and reflinks on XFS:
the new bytes go elsewhere). Nor does it reach snapshots, a data journal and swap. Encrypting the disk does promise it.

A file with another hard link is not overwritten, because those bytes have another owner.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator

from .descriptors import close

_BLOCK_BYTES = 1 << 20


def overwrite(fd: int, name: str, may_go_on: Callable[[], bool]) -> bool:
    """
    Overwrite and sync the regular file *name* of directory *fd*.

    Returns:
        False if *may_go_on* stopped it. Then the caller has to keep the file where it is. The work goes from the end to
        the beginning, and the overwritten end is cut off. So a file too large for one time budget is overwritten in
        several.

    Raises:
        OSError: it could not be opened, written or synced. It must not count as overwritten.
    """
    opened = _open(fd, name)
    if opened < 0:
        return True
    try:
        status = os.fstat(opened)
        if not _is_only_link(status):
            return True
        noise = os.urandom(min(_BLOCK_BYTES, max(status.st_size, 1)))
        done_from = status.st_size
        for start, end in reversed([*_extents(opened, status.st_size)]):
            for offset in reversed(range(start, end, len(noise))):
                if not may_go_on():
                    _sync(opened)
                    os.ftruncate(opened, done_from)
                    return False
                _write(opened, noise[: end - offset], offset)
                done_from = offset
        _sync(opened)
    finally:
        close(opened)
    return True


def _write(opened: int, noise: bytes, offset: int) -> None:
    while noise:  # a nearly full disk writes a part, and reports the error only at the next call
        written = os.pwrite(opened, noise, offset)
        noise, offset = noise[written:], offset + written


def _sync(opened: int) -> None:
    os.fdatasync(opened) if hasattr(os, "fdatasync") else os.fsync(opened)


def _is_only_link(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _open(fd: int, name: str) -> int:
    """Open it for writing. Returns -1 if it is not to be overwritten, and has to become writable first."""
    flags = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(name, os.O_WRONLY | flags, dir_fd=fd)
    except PermissionError:
        # It is read-only for its owner: make it writable through a descriptor, then open it again.
        reading = os.open(name, os.O_RDONLY | flags, dir_fd=fd)
        try:
            # The mode belongs to the other links as well.
            if not _is_only_link(os.fstat(reading)):
                return -1
            os.fchmod(reading, 0o600)
            opened = os.open(name, os.O_WRONLY | flags, dir_fd=fd)
            if not os.path.samestat(os.fstat(reading), os.fstat(opened)):
                close(opened)
                raise OSError(errno.ESTALE, "replaced meanwhile")
            return opened
        finally:
            close(reading)


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts that contain data. Overwriting the holes of a sparse file would fill the disk."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as exc:
            if exc.errno == errno.ENXIO:  # the rest is one hole
                return
            start, end = end, size  # the file system does not report holes
        yield start, min(end, size)
