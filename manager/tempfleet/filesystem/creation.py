"""Making files and directories under names of our own, in the base directory, by its descriptor."""

from __future__ import annotations

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
