"""
Read a managed file, whether it is compressed or not.

There is no race. What was opened is one object, and its header shows whether it is compressed. If another process
compresses the file meanwhile, the name goes to another object, and this one can be read to its end. A FIFO that takes
the name just before the opening does not block us either: the opened object is checked once more.
"""

from __future__ import annotations

import io
import os
import stat
import time
from contextlib import ExitStack

from ..errors import FileMissing
from ..filesystem import DIRECTORY_FLAGS, Root, Roots, close, kind_of, unsafe
from ..logs import printable
from .format import PlainReader, read_header

_RETRY_SECONDS = 0.01


def open_content(path: str, roots: Roots) -> io.BufferedReader:
    """
    Returns the content of *path* as a file with read, seek and close.

    Raises:
        FileMissing: nothing has that name.
        UnsafePath: outside the roots, or not a regular file.
        VolumeUnavailable: its root does not answer.
        CompressionUnavailable: the file is compressed, and the library is not installed.
        OSError: as ``open``; later EIO if the compressed form is damaged.
    """
    root = roots.find(path)
    if root is None:
        raise roots.outside(path)
    return root.calls.ask(lambda: _open_below(root, path, roots), discard=io.BufferedReader.close)


def _open_below(root: Root, path: str, roots: Roots) -> io.BufferedReader:
    parent, name = os.path.split(path[len(root.prefix) :])
    reader = roots.system.reader()
    with ExitStack() as opened:
        try:
            with ExitStack() as directories, roots.use():
                directory = roots.system.open_beneath(root.fd, parent or ".", DIRECTORY_FLAGS)
                directories.callback(close, directory)
                _refuse_special(path, reader.stat(directory, name).mode)  # opening a device may have effects
                file = opened.enter_context(io.FileIO(_open(directory, name), "rb"))
        except FileNotFoundError:
            raise FileMissing(
                f"{printable(path)}: there is no such file.", path=path, reason="missing"
            ) from None
        _refuse_special(path, os.fstat(file.fileno()).st_mode)
        os.set_blocking(file.fileno(), True)
        header = read_header(file.fileno(), reader)
        opened.pop_all()  # whoever reads closes it
        return io.BufferedReader(file if header is None else PlainReader(file, header))


def _refuse_special(path: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise unsafe(path, kind_of(mode))


def _open(directory: int, name: str) -> int:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    while True:
        try:
            return os.open(name, flags, dir_fd=directory)
        except BlockingIOError:
            # Another process holds a write lock on the file, perhaps to compress it. The kernel has told it to give
            # the lock up and waits at most 45 s.
            time.sleep(_RETRY_SECONDS)
