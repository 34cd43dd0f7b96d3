"""
Empties a directory tree. Nothing in it is moved: what cannot be removed stays where it is, with its mode.

There is no recursion, and one directory is open beside the top one, whatever the depth. The way back up is "..". It is
taken only if it leads to the directory that was left: another process may have moved the lower one meanwhile. Then
everything begins again at the top. Each subdirectory is opened without following a symlink or crossing a mount.

A directory of this user without the right to write to it (0555, as in Go's module cache) gets that right, by its
descriptor. If the tree cannot be emptied, it loses it again.

Processes may add files meanwhile. The session notes that (``Session.note_refill``), so that they cannot keep it busy.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from ..filesystem import close
from ..filesystem import overwrite as secure
from . import failpoints as faults
from .session import Session, Stopped

OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)
_OWNER_RIGHTS = 0o700
_NAMES, _FEW_NAMES, _DEEP = 256, 4, 64
"""Subdirectories that are remembered of one directory before it is read again; of a deep one only a few."""


T = TypeVar("T")


@dataclass(slots=True)
class _Level:
    """
    A directory between the top and the one that is being emptied.

    Attributes:
        key: device and inode.
        mode: the one that it had, if it was changed; else None.
        below: subdirectories that are not empty.
    """

    name: str
    key: tuple[int, int]
    mode: int | None = None
    below: list[str] = field(default_factory=list)


class Emptying:
    """
    One directory being emptied, and the bytes freed so far.

    Args:
        top: its descriptor; stays open.
    """

    def __init__(self, top: int, session: Session) -> None:
        self.freed_bytes = 0
        self._top = self._fd = top
        self._session = session
        self._levels = [_Level("", _key(top))]
        self._began_ns = time.time_ns()

    def run(self) -> None:
        """
        Remove everything that is in it.

        Raises:
            OSError: of the entry that cannot be removed. The rest has its place and its modes.
            Stopped: the time ran out; the same.
        """
        try:
            while self._step():
                pass
        finally:
            self._back_to_top()

    def _step(self) -> bool:
        """Go down into one subdirectory, or read the present directory, or go up. Returns False when all is done."""
        self._session.go_on()
        level = self._levels[-1]
        if level.below:
            self._down(level.below.pop())
        elif not self._read(level):
            if len(self._levels) == 1:
                return False
            self._up(level)
        return True

    def _read(self, level: _Level) -> bool:
        """Remove the files and the empty directories. Returns True if others are left."""
        most = _NAMES if len(self._levels) < _DEEP else _FEW_NAMES
        with os.scandir(self._fd) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    self._permitted(partial(self._unlink, entry.name))
                elif not self._permitted(partial(self._rmdir, entry.name)):
                    level.below.append(entry.name)
                    if len(level.below) == most:
                        break
        return bool(level.below)

    def _down(self, name: str) -> None:
        try:
            fd = self._permitted(partial(self._session.roots.system.open_beneath, self._fd, name, OPEN))
        except FileNotFoundError:
            return
        self._levels.append(_Level(name, _key_or_close(fd)))
        self._go_to(fd)
        self._leave_if_moved()

    def _up(self, emptied: _Level) -> None:
        """Remove the present directory, which was empty a moment ago, from the one above it."""
        fd = self._above()
        if fd is None:
            self._leave()
            return
        self._levels.pop()
        try:
            if emptied.mode is not None:  # it stays if the one above cannot be changed
                os.fchmod(self._fd, emptied.mode)
        finally:
            self._go_to(fd)
        if self._leave_if_moved():
            return
        if not self._permitted(partial(self._rmdir, emptied.name)):
            self._session.note_refill()  # the directory is read again, and finds it

    def _leave_if_moved(self) -> bool:
        """
        Leave the present directory if it is in the tree no more: its new place is none of our business. The kernel's
        name of it shows that, unless there is no /proc, or the name is too long.
        """
        if self._fd == self._top:
            return False
        try:
            top, here = (os.readlink(f"/proc/self/fd/{fd}") for fd in (self._top, self._fd))
        except OSError:
            return False
        if here.startswith(f"{top}/"):
            return False
        self._leave()
        return True

    def _leave(self) -> None:
        """Somebody moved the present directory, or one above it. If it is still in the tree, it is found again."""
        self._back_to_top()
        self._session.note_refill()

    def _go_to(self, fd: int) -> None:
        """Make *fd* the present directory."""
        before, self._fd = self._fd, fd
        if before not in (self._top, fd):
            close(before)

    def _permitted(self, act: Callable[[], T]) -> T:
        """Call *act*; if the present directory does not allow it and is this user's, once more with the right to."""
        try:
            return act()
        except PermissionError:
            status, level = os.fstat(self._fd), self._levels[-1]
            mode = stat.S_IMODE(status.st_mode)
            if status.st_uid != os.geteuid() or mode & _OWNER_RIGHTS == _OWNER_RIGHTS:
                raise
            level.mode = mode
            os.fchmod(self._fd, mode | _OWNER_RIGHTS)
            return act()

    def _above(self) -> int | None:
        """The directory above the present one; None if it is not the one that we came from."""
        if len(self._levels) == 2:
            return self._top
        fd = self._permitted(partial(os.open, "..", OPEN, dir_fd=self._fd))
        if _key_or_close(fd) == self._levels[-2].key:
            return fd
        close(fd)
        return None

    def _back_to_top(self) -> None:
        """Go to the top directory, and give each changed directory on the way its mode back."""
        try:
            while len(self._levels) > 1 and any(level.mode is not None for level in self._levels):
                above, left = self._above(), self._levels.pop()
                try:
                    if left.mode is not None:
                        os.fchmod(self._fd, left.mode)
                finally:
                    if above is not None:
                        self._go_to(above)
                if above is None:
                    break
            if (mode := self._levels[0].mode) is not None:
                os.fchmod(self._top, mode)
        finally:
            self._levels = [_Level("", self._levels[0].key)]
            self._go_to(self._top)

    def _unlink(self, name: str) -> None:
        session = self._session
        try:
            status = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
            regular = stat.S_ISREG(status.st_mode)
            if regular and session.secure and not secure.overwrite(self._fd, name, session.has_time):
                raise Stopped
            session.go_on()
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            return
        faults.reach("tree.entry")
        if status.st_mtime_ns > self._began_ns:
            session.note_refill()
        if regular and status.st_nlink == 1:
            self.freed_bytes += min(status.st_size, status.st_blocks * 512)

    def _rmdir(self, name: str) -> bool:
        """Returns False if the directory is not empty."""
        self._session.go_on()
        try:
            os.rmdir(name, dir_fd=self._fd)
        except FileNotFoundError:
            return True
        except OSError as exc:
            if exc.errno not in NOT_EMPTY:
                raise
            return False
        return True


def _key(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _key_or_close(fd: int) -> tuple[int, int]:
    try:
        return _key(fd)
    except BaseException:
        close(fd)
        raise
