"""
The last step of every way: unlink what was proven to be ours. With ``TEMP_FILE_SECURE_DELETE`` it is overwritten
first. A directory is removed with everything in it, as one unit.

There is no recursion and no stack. A subdirectory that is not empty is moved up into the top directory, and emptied
there later. So two descriptors are enough for any depth, and memory does not grow with the number of entries. A crash
leaves a directory again, which the next try empties. Each subdirectory is opened without following a symlink or
crossing a mount, whatever other processes move in it at the same time.

Mounts inside are looked for before anything is changed (``checks``). A later mount is not crossed: emptying stops
there.
"""

from __future__ import annotations

import errno
import os
import stat

from ..filesystem import Roots, close, in_use
from ..filesystem import overwrite as secure
from . import failpoints as faults
from .session import Session, Stopped

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)


def remove(fd: int, name: str, session: Session, *, directory: bool, exclusive: int = -1) -> int:
    """
    Unlink the file, or empty and remove the directory, *name* of *fd*.

    Args:
        exclusive: a descriptor with the kernel's write lock on the file, -1 for none. It is given back before the
            file is overwritten.

    Returns:
        For a directory the bytes that were freed, else 0.

    Raises:
        OSError: it, or an entry in it, is still there.
        Stopped: the time ran out. It is still there; the work so far is not lost.
    """
    if directory:
        return _remove_tree(fd, name, session)
    if session.secure:
        if exclusive >= 0:
            in_use.unlock(exclusive)
        if not secure.overwrite(fd, name, session.may_go_on):
            raise Stopped
        faults.reach("secure.overwritten")
    session.go_on()
    os.unlink(name, dir_fd=fd)
    return 0


def _remove_tree(fd: int, name: str, session: Session) -> int:
    """
    Empty and remove the directory *name* of *fd*.

    Returns:
        The freed bytes.

    Raises:
        OSError: of the entry that could not be removed; the rest is still there.
        Stopped: the time ran out; the rest is still there.
    """
    top = session.roots.system.open_beneath(fd, name, _OPEN)
    try:
        emptying = _Emptying(top, session)
        emptying.run()
    finally:
        close(top)
    faults.reach("tree.emptied")
    session.go_on()
    os.rmdir(name, dir_fd=fd)
    return emptying.freed_bytes


class _Emptying:
    """One directory being emptied, and the bytes freed so far."""

    def __init__(self, fd: int, session: Session) -> None:
        self._fd = fd
        self._session = session
        self._names = 0
        self.freed_bytes = 0

    def run(self) -> None:
        """Repeat until the directory is empty. If a process keeps adding files, this ends with the lease."""
        while not self._pass():
            pass

    def _pass(self) -> bool:
        """Remove everything that is in the top directory now. Returns True if it was empty."""
        is_empty = True
        with os.scandir(self._fd) as entries:
            for entry in entries:
                is_empty = False
                if not entry.is_dir(follow_symlinks=False):
                    self._unlink(self._fd, entry.name)
                elif not self._rmdir(self._fd, entry.name):
                    self._drain(entry.name)
        return is_empty

    def _drain(self, name: str) -> None:
        """Empty a subdirectory of the top directory; directories in it that are not empty move up."""
        try:
            fd = self._session.roots.system.open_beneath(self._fd, name, _OPEN)
        except FileNotFoundError:
            return
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        self._unlink(fd, entry.name)
                    elif not self._rmdir(fd, entry.name):
                        self._move_up(fd, entry.name)
        finally:
            close(fd)
        self._rmdir(self._fd, name)  # if it was filled again, the next pass finds it

    def _move_up(self, fd: int, name: str) -> None:
        while True:
            self._names += 1
            new_name = f".{self._session.token:x}.{self._names}"
            try:
                self._session.roots.system.rename_noreplace(fd, name, self._fd, new_name, directory=True)
                return
            except FileNotFoundError:
                return
            except OSError as exc:
                if exc.errno not in _NOT_EMPTY:
                    raise

    def _unlink(self, fd: int, name: str) -> None:
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            regular = stat.S_ISREG(status.st_mode)
            if regular and self._session.secure and not secure.overwrite(fd, name, self._session.may_go_on):
                raise Stopped
            self._session.go_on()
            os.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            return
        faults.reach("tree.entry")
        if regular and status.st_nlink == 1:
            self.freed_bytes += min(status.st_size, status.st_blocks * 512)

    def _rmdir(self, fd: int, name: str) -> bool:
        """Returns False if the directory is not empty."""
        self._session.go_on()
        try:
            os.rmdir(name, dir_fd=fd)
        except FileNotFoundError:
            return True
        except OSError as exc:
            if exc.errno not in _NOT_EMPTY:
                raise
            return False
        return True


def undo_creation(roots: Roots, name: str) -> None:
    """
    Remove what a failed ``create()`` may have left in the base directory under the name that it made. There may be
    nothing.

    Raises:
        OSError: it is there, and cannot be removed.
    """
    with roots.use():
        try:
            os.unlink(name, dir_fd=roots.base.fd)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):  # what unlink returns for a directory: Linux, macOS
            os.rmdir(name, dir_fd=roots.base.fd)
        except OSError as exc:
            if exc.errno != errno.ENAMETOOLONG:  # then it was never there
                raise
