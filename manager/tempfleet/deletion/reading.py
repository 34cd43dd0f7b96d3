"""
Opening a managed file to read what was written into it, in whichever form it is now.

No race: what is opened is one object, and it says itself whether it is compressed. Whoever compresses it meanwhile
gives the name to another one, and this one can be read to its end.
"""

from __future__ import annotations

import io
import os
import stat

from ..errors import FileMissing
from ..logs import printable
from . import packing
from .inspection import kind_of
from .names import unsafe
from .roots import Roots
from .syscalls import DIRECTORY_FLAGS


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
        raise unsafe(path, "outside-roots")
    parent, name = os.path.split(path[len(root.prefix) :])
    reader = roots.system.reader()
    try:
        at = roots.system.open_beneath(root.fd, parent or ".", DIRECTORY_FLAGS)
        try:
            found = reader.stat(at, name)
            if found.kind != stat.S_IFREG:  # a FIFO would let us wait for ever
                raise unsafe(path, kind_of(found.mode))
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=at)
        finally:
            os.close(at)
    except FileNotFoundError:
        raise FileMissing(f"{printable(path)}: there is no such file.", path=path, reason="missing") from None
    file = io.FileIO(fd, "rb")
    try:
        form = packing.packed(fd, reader)
        return io.BufferedReader(file if form is None else packing.Unpacking(file, form))
    except BaseException:
        file.close()
        raise
