"""
Opening a managed file to read what was written into it, in whichever form it is now.

No race: what is opened is one object, and it says itself whether it is compressed. Whoever compresses it meanwhile
gives the name to another one, and this one can be read to its end. And no waiting for a FIFO that takes the name
between the look and the opening: what was opened is looked at once more.
"""

from __future__ import annotations

import io
import os
import stat
import time

from ..errors import FileMissing
from ..filesystem import DIRECTORY_FLAGS, Roots, kind_of, unsafe
from ..logs import printable
from . import format as packing

_LET_GO_SECONDS = 0.01


def open_content(path: str, roots: Roots) -> io.BufferedReader:
    """
    The content of *path*, as a file that can be read, sought in and closed.

    Raises:
        FileMissing: nothing has that name.
        UnsafePath: outside the roots, or no regular file.
        CompressionUnavailable: it is compressed, and the library is not installed.
        OSError: as ``open``; later EIO where the compressed form is damaged.
    """
    root = roots.find(path)
    if root is None:
        raise roots.outside(path)
    parent, name = os.path.split(path[len(root.prefix) :])
    reader = roots.system.reader()
    try:
        at = roots.system.open_beneath(root.fd, parent or ".", DIRECTORY_FLAGS)
        try:
            _refuse_special(path, reader.stat(at, name).mode)  # opening a device may do something
            fd = _opened(at, name)
        finally:
            os.close(at)
    except FileNotFoundError:
        raise FileMissing(f"{printable(path)}: there is no such file.", path=path, reason="missing") from None
    file = io.FileIO(fd, "rb")
    try:
        _refuse_special(path, os.fstat(fd).st_mode)
        os.set_blocking(fd, True)
        form = packing.packed(fd, reader)
        return io.BufferedReader(file if form is None else packing.Unpacking(file, form))
    except BaseException:
        file.close()
        raise


def _refuse_special(path: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise unsafe(path, kind_of(mode))


def _opened(at: int, name: str) -> int:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    while True:
        try:
            return os.open(name, flags, dir_fd=at)
        except BlockingIOError:
            # Another process holds a write lock on the file, perhaps to compress it. The kernel has told it to give
            # the lock up and waits at most 45 s.
            time.sleep(_LET_GO_SECONDS)
