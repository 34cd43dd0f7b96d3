"""
The last step of every way: unlink what was proven to be ours. With ``TEMP_FILE_SECURE_DELETE`` it is overwritten
first. A directory is removed with everything in it, as one unit.

The tree is emptied in place (``emptying``), so that what cannot be emptied keeps its shape.

Mounts inside are looked for before anything is changed (``checks``). A later mount is not crossed: emptying stops
there.
"""

from __future__ import annotations

import errno
import os

from ..filesystem import Roots, close, in_use
from ..filesystem import overwrite as secure
from . import failpoints as faults
from .emptying import NOT_EMPTY, Emptying
from .session import Session, Stopped

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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
        emptying = Emptying(top, session)
        while True:
            emptying.run()
            faults.reach("tree.emptied")
            session.go_on()
            try:
                os.rmdir(name, dir_fd=fd)
                return emptying.freed_bytes
            except OSError as exc:
                if exc.errno not in NOT_EMPTY:
                    raise
                session.note_refill()
    finally:
        close(top)


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
