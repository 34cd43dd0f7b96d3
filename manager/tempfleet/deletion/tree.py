"""
A directory with everything in it, as one unit.

No recursion and no stack: a subdirectory that is not empty is moved up into the top one, where its turn
comes. So two descriptors are enough for any depth, memory does not grow with the number of entries, and what
a crash leaves is again a directory that the next try empties. Each subdirectory is opened without following a
symlink or crossing a mount.
"""

from __future__ import annotations

import errno
import os
import stat

from ..records import Deletion, FileRecord, Outcome, Way
from . import faults
from .session import Session

_PASSES = 1000
"""Somebody who goes on writing into the directory can refill it; then it is in use."""


class _Stopped(Exception):
    """The lease or the time budget ran out."""


class Emptying:
    """One directory being emptied, and what that has given back."""

    def __init__(self, fd: int, session: Session) -> None:
        self._fd = fd
        self._session = session
        self._moved_up = 0
        self.freed_bytes = 0

    def run(self) -> None:
        """
        Empty the directory.

        Raises:
            OSError: of the entry that could not go; the rest is still there. EBUSY if it is refilled all the
                time.
        """
        for _ in range(_PASSES):
            if self._empty(self._fd):
                return
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def _empty(self, fd: int) -> bool:
        """One pass over the top directory; True if there was nothing in it."""
        nothing = True
        with os.scandir(fd) as entries:
            for entry in entries:
                nothing = False
                self._go_on()
                if entry.is_dir(follow_symlinks=False):
                    self._drain(entry.name)
                else:
                    self._unlink(fd, entry.name)
        return nothing

    def _drain(self, name: str) -> None:
        """Empty the subdirectory *name* of the top one, moving up what is a full directory itself."""
        try:
            os.rmdir(name, dir_fd=self._fd)
            return
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = self._session.roots.system.open_beneath(self._fd, name, flags)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    self._go_on()
                    if entry.is_dir(follow_symlinks=False):
                        self._move_up(fd, entry.name)
                    else:
                        self._unlink(fd, entry.name)
        finally:
            os.close(fd)
        try:
            os.rmdir(name, dir_fd=self._fd)
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # refilled; the next pass sees it
                raise

    def _move_up(self, fd: int, name: str) -> None:
        try:
            os.rmdir(name, dir_fd=fd)
            return
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        while True:
            self._moved_up += 1
            try:
                self._session.roots.system.rename_noreplace(
                    fd, name, self._fd, f".{self._session.token:x}.{self._moved_up}", directory=True
                )
                return
            except FileExistsError:
                continue

    def _unlink(self, fd: int, name: str) -> None:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        os.unlink(name, dir_fd=fd)
        faults.reach("tree.entry")
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            self.freed_bytes += min(found.st_size, found.st_blocks * 512)

    def _go_on(self) -> None:
        if not self._session.may_go_on():
            raise _Stopped


def delete(record: FileRecord, fd: int, name: str, session: Session, way: Way) -> Deletion:
    """Empty and remove the directory *name* of *fd*."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    top = session.roots.system.open_beneath(fd, name, flags)
    try:
        emptying = Emptying(top, session)
        emptying.run()
    except _Stopped:
        return Deletion(record, Outcome.BUSY, way, emptying.freed_bytes, reason="out-of-time")
    finally:
        os.close(top)
    faults.reach("tree.emptied")
    os.rmdir(name, dir_fd=fd)
    return Deletion(record, Outcome.DELETED, way, emptying.freed_bytes)
