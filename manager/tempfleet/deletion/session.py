"""What one ``delete`` call keeps from record to record; used by its thread alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from types import TracebackType

from ..filesystem import DIRECTORY_FLAGS, Entry, Root, Roots, Use, digest_of
from ..records import FileRecord
from ..settings import InUse, Settings
from .journal import Journal

_OPEN_DIRECTORIES = 32
"""
Records of one directory mostly come together; more would be a burden on the file table with every thread.
"""


class Stopped(Exception):
    """The lease or the time budget ran out in the middle of a record; what is left stays where it is."""


class Session:
    """
    One ``delete`` call: its open directories, its buffers, its note in each private directory.

    A directory that was looked up without following a symlink stays open for the next record in it. That is
    no weaker than looking it up again: whatever is renamed meanwhile, each object is compared before it is
    unlinked.
    """

    def __init__(
        self,
        roots: Roots,
        settings: Settings,
        records: Sequence[FileRecord],
        *,
        token: int,
        may_go_on: Callable[[], bool],
    ) -> None:
        self.roots = roots
        self.settings = settings
        self.token = token
        self.may_go_on = may_go_on
        self.reader = roots.system.reader()
        self.use = Use.NOT_ASKED
        self.asks_in_use = settings.in_use is not InUse.DELETE
        self.keeps_unknown = settings.in_use is InUse.STRICT
        self.write_locks = roots.system.can.write_locks
        self.owner_check = settings.owner_check
        self.secure = settings.secure_delete
        self.left_behind = False
        self.moved = {root.path: root.moved() for root in roots}  # why each is not what was opened
        self._records = records
        self._parents: dict[str, int] = {}
        self._privates: dict[str, int] = {}
        self._notes: dict[str, Journal] = {}
        self._aside_bytes: dict[str, int] = {}
        self._entries: dict[str, dict[str, list[Entry]]] = {}

    def parent(self, root: Root, path: str) -> int:
        """The directory that holds *path*, a descriptor that this session closes."""
        at = path[: path.rindex("/")]
        fd = self._parents.get(at)
        if fd is None:
            if len(at) < len(root.prefix):
                return root.fd
            if len(self._parents) >= _OPEN_DIRECTORIES:
                self._close_parents()
            fd = self.roots.system.open_beneath(root.fd, at[len(root.prefix) :], DIRECTORY_FLAGS)
            self._parents[at] = fd
        return fd

    def private(self, root: Root) -> int:
        """The private directory of *root*, with a note in it of what may be moved there."""
        fd = self._privates.get(root.path)
        if fd is None:
            fd = root.private.open()
            self._notes[root.path] = Journal(fd, self.token, self._records)
            self._privates[root.path] = fd
        return fd

    def has_lost_private(self, root: Root) -> bool:
        """Whether somebody removed the private directory since: then a move into it finds no directory, not no file."""
        fd = self._privates.get(root.path)
        return fd is not None and fd != root.private.peek()

    @property
    def is_noted(self) -> bool:
        """Whether what was moved so far, or is about to be, stands in a note; a full disk takes none."""
        return all(note.is_whole for note in self._notes.values())

    def note(self, root: Root, path: str, identity: str) -> None:
        """Say what *path* is by now; for who finds it after a crash."""
        self._notes[root.path].add(path, identity)

    def entry_name(self, path: str) -> str:
        """What *path* is called in the private directory under this claim."""
        return f"{digest_of(path)}.{self.token:x}"

    def entries_of(self, root: Root, path: str) -> list[Entry]:
        """What earlier claims of *path* left in the private directory; listed once per session."""
        if root.path not in self._entries:
            by_digest: dict[str, list[Entry]] = {}
            for entry in root.private.entries():
                by_digest.setdefault(entry.digest, []).append(entry)
            self._entries[root.path] = by_digest
        return self._entries[root.path].get(digest_of(path), [])

    def fits_quarantine(self, root: Root, size: int) -> bool:
        """Whether *size* bytes more may wait in the grace period; if so they are counted."""
        if root.path not in self._aside_bytes:
            entries = root.private.entries()
            self._aside_bytes[root.path] = sum(entry.size_bytes for entry in entries if entry.aside)
        if self._aside_bytes[root.path] + size > self.settings.quarantine_max_bytes:
            return False
        self._aside_bytes[root.path] += size
        return True

    def go_on(self) -> None:
        """Ask between two steps of one long record."""
        if not self.may_go_on():
            raise Stopped

    def close(self) -> None:
        self._close_parents()
        for note in self._notes.values():
            note.close(keep=self.left_behind)
        self._notes.clear()

    def _close_parents(self) -> None:
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
