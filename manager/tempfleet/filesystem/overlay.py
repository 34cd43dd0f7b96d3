"""
Overlays: the file system of a container, with the layers of its image below.

The first change of an object from a lower layer copies it up. The copy has another birth time, so it would not be the
registered object any more. So everything is copied up before its identity is read.

A directory from a lower layer cannot be renamed (EXDEV, unless the overlay has redirect_dir=on), so it could never be
moved into the private directory. It is refused at its registration.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat

from .private_directory import PrivateDirectory
from .stat import Stat

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


def copy_up(fd: int, name: str, expected: Stat | None = None) -> None:
    """
    Copy up the entry *name* of directory *fd*, unless it is another one than *expected*; contents of a directory stay.

    Setting the mode that it has is a change that nobody sees. Only its owner or root can do that; if this fails, the
    entry stays where it is.
    """
    try:
        opened = os.open(name, _OPEN, dir_fd=fd)
    except OSError:
        return
    try:
        status = os.fstat(opened)
        if expected is None or status.st_ino == expected.ino:
            os.fchmod(opened, stat.S_IMODE(status.st_mode))
    except OSError:
        pass
    finally:
        os.close(opened)


def can_move_directory(fd: int, name: str, private_directory: PrivateDirectory) -> bool:
    """
    Whether the directory *name* of directory *fd* can be renamed; True if that cannot be tried. It is not renamed: the
    new name is a directory that is not empty.
    """
    probe = f"probe.{secrets.token_hex(8)}"
    try:
        private = private_directory.open()
        os.mkdir(probe, 0o700, dir_fd=private)
    except OSError:
        return True
    try:
        os.mkdir(f"{probe}/full", 0o700, dir_fd=private)
        try:
            os.rename(name, probe, src_dir_fd=fd, dst_dir_fd=private)
        except OSError as exc:
            return exc.errno != errno.EXDEV
        return True
    finally:
        for directory in (f"{probe}/full", probe):
            try:
                os.rmdir(directory, dir_fd=private)
            except OSError:
                pass
