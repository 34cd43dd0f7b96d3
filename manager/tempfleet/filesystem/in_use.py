"""
Whether a process of this host uses a file. The kernel decides.

The kernel grants a write lock on a whole file only while no other process has the file open. (Its own word is lease:
``F_SETLEASE`` with ``F_WRLCK``.) So getting the lock *is* the answer, with no gap between the question and the answer.
The lock lasts until the descriptor is closed. A process that opens the file meanwhile waits for us, and
``still_free`` notices it. Some systems grant no write lock: macOS, and files of another user. On NFS, FUSE and other
network file systems it may be granted, but proves nothing: another client can have the file open, and this kernel does
not know (file_systems.py). There ``flock`` still shows the processes that lock; and on FUSE a refused write lock shows
that a process of this host has the file open.

The trap: when a process opens the file, the kernel sends a signal to the holder of the write lock. The default signal
is SIGIO, which terminates the process. ``F_SETSIG`` makes it SIGURG *before* the lock is taken. SIGURG is ignored by
default, in every thread, so nothing has to be disarmed at start.
"""

from __future__ import annotations

import fcntl
import os
import signal
from bisect import bisect_left
from collections.abc import Sequence
from enum import StrEnum
from itertools import islice
from typing import Final

from .descriptors import close, hide
from .file_systems import WriteLocks

_F_SETSIG: Final = 10
_F_SETLEASE: Final = 1024
_F_GETLEASE: Final = 1025
_OPEN: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


_MOST_PROCESSES: Final = 1 << 16


class Use(StrEnum):
    """How a file is used at this moment."""

    FREE = "free"
    OPEN = "open"
    LOCKED = "locked"
    UNKNOWN = "unknown"
    NOT_ASKED = "not-asked"


def hold(fd: int, name: str, *, write_locks: WriteLocks) -> tuple[Use, int]:
    """
    Find out the use of the regular file *name* of directory *fd*, and keep it FREE if it is.

    Args:
        write_locks: what a write lock proves on this file system.

    Returns:
        The use, and a descriptor to close once the file is gone (-1 if the file could not be opened). If the use is
        FREE, the descriptor holds the write lock.

    Raises:
        BlockingIOError: another process holds a write lock on the file, so the file is in use.
    """
    try:
        held = hide(os.open(name, _OPEN, dir_fd=fd))
    except PermissionError:
        return Use.UNKNOWN, -1
    try:
        return _use_of(held, write_locks=write_locks), held
    except BaseException:  # an interrupt
        give_back(held)
        raise


def _use_of(held: int, *, write_locks: WriteLocks) -> Use:
    if write_locks is not WriteLocks.NOTHING:
        try:
            fcntl.fcntl(held, _F_SETSIG, signal.SIGURG)
            fcntl.fcntl(held, _F_SETLEASE, fcntl.F_WRLCK)
            if write_locks is WriteLocks.ALL:
                return Use.FREE
            unlock(held)
        except BlockingIOError:
            return Use.LOCKED if _is_locked(held) else Use.OPEN
        except OSError:
            pass  # no write locks here: EACCES without the owner's rights, EINVAL on some file systems
    return Use.LOCKED if _is_locked(held) else Use.UNKNOWN


def still_free(held: int) -> bool:
    """Whether no process began to open the file since ``hold`` returned FREE."""
    return fcntl.fcntl(held, _F_GETLEASE) == fcntl.F_WRLCK


def unlock(held: int) -> None:
    """Give back the write lock on *held*, if it has one: it keeps every process from writing, ours included."""
    try:
        fcntl.fcntl(held, _F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        pass  # it has none


def give_back(held: int) -> None:
    """Give back the write lock on *held* for all copies of it, and close it. For a file that stays."""
    try:
        unlock(held)
    finally:
        close(held)


def is_directory_locked(fd: int) -> bool:
    """Whether a process holds a ``flock`` on the directory itself."""
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


def working_directories() -> list[str]:
    """
    The working directories of the processes of this host, sorted; of other users' processes only if this is root.

    The links in /proc are read and not followed, because a dead network file system would never answer.
    """
    directories = set()
    try:
        processes = islice(filter(str.isdigit, os.listdir("/proc")), _MOST_PROCESSES)
    except OSError:
        return []
    for process in processes:
        try:
            directories.add(os.readlink(f"/proc/{process}/cwd"))
        except OSError:
            continue
    return sorted(directories)


def first_below(directory: str, paths: Sequence[str]) -> str:
    """The first of the sorted *paths* that is *directory* or below it; "" if none is."""
    for prefix in (directory, f"{directory}/"):
        i = bisect_left(paths, prefix)
        if i < len(paths) and (paths[i] == directory or paths[i].startswith(f"{directory}/")):
            return paths[i]
    return ""
