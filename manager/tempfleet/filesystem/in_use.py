"""
Whether a process of this host uses a file, asked of the kernel.

A write lease (``F_SETLEASE``) is given only while nobody else has the file open, so getting one *is* the
answer, with no gap between the question and the answer. It stays until the descriptor is closed: whoever
opens the file meanwhile waits for us, and ``still_free`` sees that somebody does. Where no lease can be had
(not the owner's process, NFS, FUSE, macOS), ``flock`` still shows those who lock.

The trap: when somebody opens a leased file, its holder gets a signal, and SIGIO's default action is to
terminate the process. ``F_SETSIG`` makes it SIGURG *before* the lease is taken; SIGURG is ignored by default,
in every thread, so nothing has to be disarmed at start.
"""

from __future__ import annotations

import fcntl
import os
import signal
from enum import StrEnum
from typing import Final

_F_SETSIG: Final = 10
_F_SETLEASE: Final = 1024
_F_GETLEASE: Final = 1025
_OPEN: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


class Use(StrEnum):
    """What is known."""

    FREE = "free"
    OPEN = "open"
    LOCKED = "locked"
    UNKNOWN = "unknown"
    NOT_ASKED = "not-asked"


def hold(fd: int, name: str, *, leases: bool) -> tuple[Use, int]:
    """
    Ask about the regular file *name* of directory *fd*.

    Returns:
        The answer, and a descriptor to close once the file is gone (-1 where it could not be opened).
    """
    try:
        held = os.open(name, _OPEN, dir_fd=fd)
    except PermissionError:
        return Use.UNKNOWN, -1
    if leases:
        try:
            fcntl.fcntl(held, _F_SETSIG, signal.SIGURG)
            fcntl.fcntl(held, _F_SETLEASE, fcntl.F_WRLCK)
            return Use.FREE, held
        except BlockingIOError:
            return (Use.LOCKED if _is_locked(held) else Use.OPEN), held
        except OSError:
            pass  # no leases here: EACCES without the owner's rights, EINVAL on some file systems
    return (Use.LOCKED if _is_locked(held) else Use.UNKNOWN), held


def still_free(held: int) -> bool:
    """Whether nobody began to open the file since ``hold`` said FREE."""
    return fcntl.fcntl(held, _F_GETLEASE) == fcntl.F_WRLCK


def let_go(held: int) -> None:
    """Give back the lease on *held*, if there is one: it keeps everybody from writing, also this very process."""
    try:
        fcntl.fcntl(held, _F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        pass  # none was taken


def is_directory_locked(fd: int) -> bool:
    """Whether somebody holds a ``flock`` on the directory itself."""
    return _is_locked(fd)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
