"""Making files and directories under names of our own, in the base directory, by its descriptor."""

from __future__ import annotations

import errno
import os

from .roots import Roots


def create_file(roots: Roots, name: str, *, mode: int) -> int:
    """
    A new file in the base directory, opened for reading and writing; *mode* is exact, whatever the umask.

    Raises:
        OSError: EEXIST if anything has the name, also a dangling symlink.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, mode, dir_fd=roots.base.fd)
    try:
        os.fchmod(fd, mode)
    except BaseException:
        os.close(fd)
        raise
    return fd


def create_directory(roots: Roots, name: str, *, mode: int) -> None:
    """
    A new directory in the base directory.

    Raises:
        OSError: EEXIST if anything has the name.
    """
    os.mkdir(name, mode, dir_fd=roots.base.fd)


def unmake(roots: Roots, name: str) -> None:
    """
    Remove what a making that was broken off may have left under a name of our own; nothing there is well, too.

    Raises:
        OSError: it is there, and cannot be removed.
    """
    try:
        os.unlink(name, dir_fd=roots.base.fd)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):  # what unlink says of a directory: Linux, macOS
        os.rmdir(name, dir_fd=roots.base.fd)
    except OSError as exc:
        if exc.errno != errno.ENAMETOOLONG:  # then it was never there
            raise
