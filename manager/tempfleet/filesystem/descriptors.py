"""
Give descriptors back: whatever fails, and whoever has a copy of them.

The kernel's locks belong to the open file. A child that any thread of this process forks has a copy of each descriptor,
so a lock would last until the child ends, too: a note would seem to be that of a living process, and a write lock would
make the applications' open() wait. O_CLOEXEC is for children that run another program. So whoever gives a lock back
unlocks it before closing, and what ``hide`` was told is replaced in the child, in case this process dies before.
"""

from __future__ import annotations

import fcntl
import os

_hidden: dict[int, None] = {}


def close(fd: int) -> None:
    """
    Close *fd*. It is closed even if the system reports an error then (a network file system does). That error must not
    keep others from being closed.
    """
    _hidden.pop(fd, None)
    try:
        os.close(fd)
    except OSError:
        pass


def unlock_and_close(fd: int) -> None:
    """Give the ``flock`` on *fd* back, for all copies of it, and close it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError:
        pass
    finally:
        close(fd)


def hide(fd: int) -> int:
    """Keep *fd*, which has a lock, from children that are forked before it is closed. Returns it."""
    _hidden[fd] = None
    return fd


def _forget_in_child() -> None:
    """The numbers stay taken, because code that the child goes on with may close them."""
    if not _hidden:
        return
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for fd in [*_hidden]:
        os.dup2(nothing, fd, inheritable=False)
    os.close(nothing)


os.register_at_fork(after_in_child=_forget_in_child)
