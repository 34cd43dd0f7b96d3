"""
The private directory of a root: ``<root>/.tempfleet-<uid>``, where a file is compared with its record out of
everybody's reach.

It is on the root's own mount, so that moving a file there is one atomic rename. It must belong to this user
with mode 0700 and be no symlink, which is checked by descriptor each time it is opened. In a directory that
others may write to (``/tmp``) a stranger can take the name first; then the next of ten is used, ours before a
new one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from typing import TYPE_CHECKING

from .syscalls import DIRECTORY_FLAGS

if TYPE_CHECKING:
    from .roots import Root

_NAMES = 10
_PREFIX = ".tempfleet-"


class PrivateDirectory:
    """Opened at the first need and kept open; ``path`` is known from then on."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._fd = -1
        self._lock = threading.Lock()
        self.name = ""

    @property
    def path(self) -> str:
        return f"{self._root.prefix}{self.name}"

    def open(self) -> int:
        """
        The descriptor; the directory is made if it is not there.

        Raises:
            OSError: EACCES where the root may not be written to, EEXIST where strangers hold all ten names.
        """
        if self._fd < 0:
            with self._lock:
                if self._fd < 0:
                    self._fd = self._open(create=True)
        return self._fd

    def peek(self) -> int:
        """The descriptor if the directory is there, else -1; changes nothing."""
        if self._fd < 0:
            with self._lock:
                if self._fd < 0:
                    self._fd = self._open(create=False)
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, *, create: bool) -> int:
        names = [f"{_PREFIX}{os.geteuid()}{extra}" for extra in ("", *(f".{n}" for n in range(1, _NAMES)))]
        for name in names:
            if (fd := self._try(name)) >= 0:
                return fd
        for name in names if create else ():
            try:
                os.mkdir(name, 0o700, dir_fd=self._root.fd)
            except FileExistsError:
                pass  # a stranger's, or another worker was quicker
            if (fd := self._try(name)) >= 0:
                return fd
        if create:
            raise OSError(errno.EEXIST, "others hold the names of the private directory")
        return -1

    def _try(self, name: str) -> int:
        try:
            fd = os.open(name, DIRECTORY_FLAGS, dir_fd=self._root.fd)
        except OSError:
            return -1
        found = os.fstat(fd)
        if (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), 0o700):
            self.name = name
            return fd
        os.close(fd)
        return -1


def is_private_name(name: str) -> bool:
    """Whether a component of a path is one of ours: nothing in there may be registered."""
    return name.startswith(_PREFIX)


def entry_prefix(path: str) -> str:
    """How the entries of *path* in a private directory begin; the token follows."""
    return hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest() + "."
