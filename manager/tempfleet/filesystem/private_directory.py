"""
The private directory of a root: ``<root>/.tempfleet-<uid>``, where a file is compared with its record out of
everybody's reach.

It is on the root's own mount, so that moving a file there is one atomic rename. It must belong to this user with
mode 0700 (and the set-group-ID bit if its root hands that down). It must not be a symlink. Both are checked by
descriptor when it is opened. In a directory that others may write to (``/tmp``) a stranger can take the name first.
Then the next of ten names is used; a directory of ours that exists goes before a new one. It contains:

    <digest>.<token>                  a file between its rename and its unlink; for longer only after a crash
    <digest>.<token>.<size>.aside     a file in quarantine (TEMP_FILE_QUARANTINE)
    <digest>.<token>.<size>.from      a symlink that nobody follows; its text is the path the file had
    <digest>.<token>.form             a file's other form, before or after it has the name (exchange.py)
    note.<token>.<random>             the paths of one delete call, locked while it runs
    audit.log, audit.log.1, ...

The digest is of the path, the token that of the claim. So whoever claims the record again after a crash and
finds nothing under the path looks here first, and needs no other memory.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import NamedTuple

from .paths import private_name
from .stat import ENCODING
from .syscalls import DIRECTORY_FLAGS

_NAMES = 10
_DIGEST_BYTES = 16
ASIDE = "aside"
FROM = "from"
FORM = "form"
NOTE = "note"
KEPT = "kept"


class Entry(NamedTuple):
    """A file in a private directory."""

    name: str
    digest: str
    token: int
    size_bytes: int = 0
    aside: bool = False

    @classmethod
    def parse(cls, name: str) -> Entry | None:
        """None for notes, logs and whatever else is not a file of somebody."""
        parts = name.split(".")
        if len(parts[0]) != _DIGEST_BYTES * 2:
            return None
        try:
            numbers = [int(part, 16) for part in parts[1:3]]
        except ValueError:
            return None
        if len(parts) == 2:
            return cls(name, parts[0], numbers[0])
        if len(parts) == 4 and parts[3] == ASIDE:
            return cls(name, parts[0], numbers[0], numbers[1], aside=True)
        return None

    @property
    def from_name(self) -> str:
        return self.name.removesuffix(ASIDE) + FROM


class PrivateDirectory:
    """
    Opened at the first need and kept open; ``name`` is known from then on. Where somebody removed it (tmpreaper and
    systemd-tmpfiles remove what is empty and old) it is made anew: nothing can be moved into the old one any more.

    Without a lock: a signal handler that cleans up on top of a clean-up would wait here for its own thread. Of two
    threads that open it at once, the first one's descriptor is kept.
    """

    def __init__(self, parent_fd: int, prefix: str) -> None:
        """*parent_fd* is the root, which stays its opener's; *prefix* is the root's path with a slash at its end."""
        self._parent_fd = parent_fd
        self._prefix = prefix
        self._kept: dict[str, tuple[int, str]] = {}  # one entry or none; setdefault and pop are atomic
        self._removed: list[int] = []  # other threads may be using them still

    @property
    def name(self) -> str:
        return self._kept.get(KEPT, (-1, ""))[1]

    @property
    def path(self) -> str:
        return f"{self._prefix}{self.name}"

    def open(self) -> int:
        """
        The descriptor; the directory is made if it is not there.

        Raises:
            OSError: EACCES where the root may not be written to, EEXIST where strangers hold all ten names.
        """
        return self._open(create=True)

    def peek(self) -> int:
        """The descriptor if the directory is there, else -1; changes nothing."""
        return self._open(create=False)

    def entries(self) -> list[Entry]:
        """The files that are in it; mostly none."""
        return [entry for name in self.names() if (entry := Entry.parse(name)) is not None]

    def names(self) -> list[str]:
        fd = self.peek()
        if fd < 0:
            return []
        listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            return os.listdir(listing)
        finally:
            os.close(listing)

    def close(self) -> None:
        """Final: the root is closed next, and its descriptor's number may be given to any other file."""
        self._parent_fd = -1
        self._let_go()
        while self._removed:
            os.close(self._removed.pop())

    def _let_go(self) -> None:
        fd, _ = self._kept.pop(KEPT, (-1, ""))
        if fd >= 0:
            self._removed.append(fd)

    def _open(self, *, create: bool) -> int:
        if (kept := self._kept.get(KEPT)) is not None:
            if self._is_there(*kept):
                return kept[0]
            self._let_go()
        names = [f"{private_name()}{extra}" for extra in ("", *(f".{n}" for n in range(1, _NAMES)))]
        for name in names:
            if (fd := self._try(name)) >= 0:
                return fd
        for name in names if create else ():
            try:
                os.mkdir(name, 0o700, dir_fd=self._parent_fd)
            except FileExistsError:
                pass  # a stranger's, or another worker was quicker
            if (fd := self._try(name)) >= 0:
                return fd
        if create:
            raise OSError(errno.EEXIST, "others hold the names of the private directory")
        return -1

    def _is_there(self, fd: int, name: str) -> bool:
        try:
            return os.path.samestat(
                os.fstat(fd), os.stat(name, dir_fd=self._parent_fd, follow_symlinks=False)
            )
        except FileNotFoundError:
            return False

    def _try(self, name: str) -> int:
        try:
            fd = os.open(name, DIRECTORY_FLAGS, dir_fd=self._parent_fd)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return -1
        found = os.fstat(fd)
        if (found.st_uid, stat.S_IMODE(found.st_mode) & ~stat.S_ISGID) == (os.geteuid(), 0o700):
            kept, _ = self._kept.setdefault(KEPT, (fd, name))
            if kept != fd:
                os.close(fd)
            return kept
        os.close(fd)
        return -1


def digest_of(path: str) -> str:
    """What the entries of *path* in a private directory begin with."""
    return hashlib.blake2b(path.encode(ENCODING, "surrogateescape"), digest_size=_DIGEST_BYTES).hexdigest()
