"""
The private directory of a root: ``<root>/.tempfleet-<uid>``. There a file is compared with its record, out of the reach
of other users.

It is on the root's own mount, so that moving a file there is one atomic rename. It must belong to this user with
mode 0700 (and the set-group-ID bit if it inherits that from its root). It must not be a symlink. Both are checked by
descriptor when it is opened. In a directory that others may write to (``/tmp``) a stranger can take the name first.
Then the next of ten names is used; an existing directory of ours goes before a new one. It contains:

    <digest>.<token>                  MOVED: an entry that is compared with its record; for longer only after a crash
    <digest>.<token>.begun            BEGUN: ours, and being destroyed: part of it may be gone
    <digest>.<token>.<size>.aside     ASIDE: ours, in quarantine (TEMP_FILE_QUARANTINE); .<size>.begun when it is purged
    <digest>.<token>.<size>.from      its companion: path, identity and registry of the file, the end of its quarantine
    quarantine.bytes                  the size of all files in quarantine (deletion/companion.py)
    <digest>.<token>.form             a file's other form, before or after it has the name (deletion/exchange.py)
    note.<token>.<random>             the paths of one delete call, locked while it runs
    clock.json                        what this host last saw of Redis's clock (cleanup/continuity.py)
    probe.<random>                    empty, for an instant (overlay.py)
    audit.log, audit.log.1, ...

A name is the state of its entry, so that nothing else has to be read or remembered. An entry is renamed from one state
to the next *before* it is treated so.

The digest is of the path, and the token is that of the claim. If a worker claims the record again after a crash and
finds no file under the path, it looks here first. It needs no other information.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from enum import Enum
from typing import NamedTuple

from ..logs import logger, printable
from .descriptors import close
from .paths import private_name
from .stat import ENCODING
from .syscalls import DIRECTORY_FLAGS

_NAMES = 10
_DIGEST_BYTES = 16
ASIDE = "aside"
BEGUN = "begun"
FROM = "from"
FORM = "form"
NOTE = "note"
CLOCK = "clock.json"
_ENTRY = re.compile(r"([0-9a-f]{32})\.([0-9a-f]+)(?:(?:\.([0-9a-f]+))?\.(begun|aside|form))?")
_KEY = "opened"


class EntryState(Enum):
    """What an entry of a private directory is; its name shows it."""

    MOVED = "moved"
    BEGUN = BEGUN
    ASIDE = ASIDE
    FORM = FORM


class Entry(NamedTuple):
    """A file in a private directory."""

    name: str
    digest: str
    token: int
    size_bytes: int = 0
    state: EntryState = EntryState.MOVED

    @classmethod
    def parse(cls, name: str) -> Entry | None:
        """Returns None for journals, logs and other names that do not stand for a user's file."""
        match = _ENTRY.fullmatch(name)
        if match is None:
            return None
        digest, token, size, state = match.groups()
        return cls(name, digest, int(token, 16), int(size or "0", 16), EntryState(state or EntryState.MOVED))

    @property
    def _stem(self) -> str:
        return self.name.removesuffix(f".{ASIDE}").removesuffix(f".{BEGUN}")

    @property
    def from_name(self) -> str:
        return f"{self._stem}.{FROM}"

    @property
    def aside_name(self) -> str:
        return f"{self._stem}.{ASIDE}"

    @property
    def begun_name(self) -> str:
        return f"{self._stem}.{BEGUN}"


class PrivateDirectory:
    """
    It is opened at the first need and kept open; ``name`` is set from then on. If it was removed, it is created again,
    because no file can be moved into the removed one. (tmpreaper and systemd-tmpfiles remove empty, old directories.)

    There is no lock here. A signal handler that cleans up during a clean-up would wait for its own thread. If two
    threads open it at once, the first one's descriptor is kept.
    """

    def __init__(self, parent_fd: int, prefix: str) -> None:
        """*parent_fd* is the root; its owner closes it. *prefix* is the root's path with a slash at its end."""
        self._parent_fd = parent_fd
        self._prefix = prefix
        self._opened: dict[str, tuple[int, str]] = {}  # one entry or none; setdefault and pop are atomic
        self._is_prepared = False
        self._removed: list[int] = []  # other threads may still use them

    @property
    def name(self) -> str:
        return self._opened.get(_KEY, (-1, ""))[1]

    @property
    def path(self) -> str:
        return f"{self._prefix}{self.name}"

    def open(self) -> int:
        """
        Returns the descriptor; creates the directory if it is missing.

        Raises:
            OSError: EACCES if the root is not writable, EEXIST if strangers have taken all ten names.
        """
        return self._open(create=True)

    def prepare(self) -> None:
        """
        Create the directory while there is room: a disk without a free block or inode has none. The first call does it;
        if that fails, the deletions report the reason.
        """
        if self._is_prepared:
            return
        self._is_prepared = True
        try:
            self.open()
        except OSError as exc:
            logger.debug("No private directory under %s: %s", printable(self._prefix), exc)

    def peek(self) -> int:
        """Returns the descriptor, or -1 if the directory is missing; changes nothing."""
        return self._open(create=False)

    def entries(self) -> list[Entry]:
        """The files in it; usually none."""
        return [entry for name in self.names() if (entry := Entry.parse(name)) is not None]

    def names(self) -> list[str]:
        fd = self.peek()
        if fd < 0:
            return []
        listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
        try:
            return os.listdir(listing)
        finally:
            close(listing)

    def close(self) -> None:
        """Final. The root is closed next, and then its descriptor's number may belong to any other file."""
        self._parent_fd = -1
        self._forget()
        while self._removed:
            close(self._removed.pop())

    def _forget(self) -> None:
        fd, _ = self._opened.pop(_KEY, (-1, ""))
        if fd >= 0:
            self._removed.append(fd)

    def _open(self, *, create: bool) -> int:
        if (opened := self._opened.get(_KEY)) is not None:
            if self._exists(*opened):
                return opened[0]
            self._forget()
        names = [f"{private_name()}{extra}" for extra in ("", *(f".{n}" for n in range(1, _NAMES)))]
        for name in names:
            if (fd := self._try(name)) >= 0:
                return fd
        for name in names if create else ():
            try:
                os.mkdir(name, 0o700, dir_fd=self._parent_fd)
            except FileExistsError:
                pass  # a stranger has taken the name, or another worker was faster
            if (fd := self._try(name)) >= 0:
                return fd
        if create:
            raise OSError(errno.EEXIST, "other users have taken all names of the private directory")
        return -1

    def _exists(self, fd: int, name: str) -> bool:
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
        kept = -1
        try:
            status = os.fstat(fd)
            if (status.st_uid, stat.S_IMODE(status.st_mode) & ~stat.S_ISGID) == (os.geteuid(), 0o700):
                kept, _ = self._opened.setdefault(_KEY, (fd, name))
        finally:
            if kept != fd:
                close(fd)
        return kept


def digest_of(path: str) -> str:
    """The beginning of the names that entries of *path* have in a private directory."""
    return hashlib.blake2b(path.encode(ENCODING, "surrogateescape"), digest_size=_DIGEST_BYTES).hexdigest()
