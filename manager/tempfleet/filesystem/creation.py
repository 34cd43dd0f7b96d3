"""Create files and directories under new names in the base directory, through its descriptor."""

from __future__ import annotations

import os

from .roots import Roots


def create_file(roots: Roots, name: str, *, mode: int) -> int:
    """
    Create a file in the base directory and open it for reading and writing. Its mode is *mode*, whatever the umask.

    Raises:
        OSError: EEXIST if anything has the name, even a dangling symlink.
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
    Create a directory in the base directory.

    Raises:
        OSError: EEXIST if anything has the name.
    """
    os.mkdir(name, mode, dir_fd=roots.base.fd)
