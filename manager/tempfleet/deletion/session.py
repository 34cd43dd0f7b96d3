"""What one ``delete`` call keeps open from record to record. Only its thread uses it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType

from ..filesystem import DIRECTORY_FLAGS, Entry, EntryState, Root, Roots, Use, close, digest_of, in_use
from ..records import FileRecord
from ..settings import InUse, Settings
from . import companion
from .journal import Journal
from .promises import NoRegistry, Promises

_OPEN_DIRECTORIES = 32
"""
Records of one directory usually come together. With more, each thread would burden the file table.
"""

REFILLED_SECONDS = 5.0
"""
How long the directories of one call are emptied to which processes add files meanwhile. All of them share it, because
many such directories together must not keep the other files waiting either.
"""

_QUICK_SECONDS = 0.005
_TRIES = 3
"""Comparing the clocks of Redis and this host: a slower answer is less precise."""


class Stopped(Exception):
    """The lease or the time budget ran out in the middle of a record. What is left of the file stays where it is."""


class ShareOver(Stopped):
    """A directory took its share of the time. The other records go on."""


def unbounded() -> float:
    """The time of a directory that may take as long as it needs."""
    return math.inf


class Session:
    """
    One ``delete`` call: its open directories, its buffers, and its journal in each private directory.

    A directory that was looked up without following a symlink stays open for the next record in it. That is as safe as
    looking it up again, because each object is compared before it is unlinked, whatever was renamed meanwhile.

    Attributes:
        refilled: whether processes add files to the directory of the present record.
        inside: the files that are in a private directory because of this call. It is raised before a file is moved
            there, and lowered after the file is gone or has left. So after any error or interrupt in between the
            journals stay, and recovery finds the file.
        exclusive: a descriptor of the file of the present record, -1 for none. With the kernel's write lock, if that
            was given, it shows whether another process opens the file.
    """

    def __init__(
        self,
        roots: Roots,
        settings: Settings,
        records: Sequence[FileRecord],
        *,
        token: int,
        may_go_on: Callable[[], bool],
        promises: Promises | None = None,
    ) -> None:
        self.roots = roots
        self.settings = settings
        self.token = token
        self.may_go_on = may_go_on
        self.promises = promises or NoRegistry()
        self.reader = roots.system.reader()
        self.use = Use.NOT_ASKED
        self.asks_in_use = settings.in_use is not InUse.DELETE
        self.keeps_unknown = settings.in_use is InUse.STRICT
        self.write_locks = roots.base.write_locks  # of the root of the record
        self.owner_check = settings.owner_check
        self.secure = settings.secure_delete
        self.inside = 0
        self.exclusive = -1
        self._moved: dict[str, str] = {}  # reasons, by root
        self.refilled, self._refill_seconds = False, REFILLED_SECONDS
        self._began, self._tree_end = 0.0, math.inf
        self._records = records
        self._parents: dict[str, int] = {}
        self._open_parents = ExitStack()
        self._privates: dict[str, int] = {}
        self._journals: dict[str, Journal] = {}
        self._quarantined_bytes: dict[str, int] = {}
        self._planned_bytes: dict[str, int] = {}
        self._counted: set[str] = set()
        self._entries: dict[str, dict[str, list[Entry]]] = {}
        self._ahead_ns: int | None = None
        self._working_directories: list[str] | None = None
        self._using = ExitStack()
        self._using.enter_context(roots.use())

    def moved(self, root: Root) -> str:
        """As ``root.moved``; asked once per session, and never about a root that has none of its records."""
        reason = self._moved.get(root.path)
        if reason is None:
            reason = self._moved[root.path] = root.moved()
        return reason

    def parent(self, root: Root, path: str) -> int:
        """The directory that contains *path*; a descriptor that this session closes."""
        at = path[: path.rindex("/")]
        fd = self._parents.get(at)
        if fd is None:
            if len(at) < len(root.prefix):
                return root.fd
            if len(self._parents) >= _OPEN_DIRECTORIES:
                self._close_parents()
            fd = self.roots.system.open_beneath(root.fd, at[len(root.prefix) :], DIRECTORY_FLAGS)
            self._open_parents.callback(close, fd)
            self._parents[at] = fd
        return fd

    def private(self, root: Root) -> int:
        """The private directory of *root*, with a journal in it of what may be moved there."""
        fd = self._privates.get(root.path)
        if fd is None:
            fd = root.private.open()
            self._journals[root.path] = Journal(fd, self.token, self.promises.owner(), self._records)
            self._privates[root.path] = fd
        return fd

    def has_lost_private(self, root: Root) -> bool:
        """Whether the private directory was removed since: then a move fails because of the directory, not the file."""
        fd = self._privates.get(root.path)
        return fd is not None and fd != root.private.peek()

    @property
    def is_noted(self) -> bool:
        """Whether the journals contain all that is moved. On a full disk they cannot be written."""
        return all(journal.is_whole for journal in self._journals.values())

    def note(self, root: Root, file: FileRecord) -> None:
        """Write into the journal what *file* is by now, for the recovery after a crash."""
        self._journals[root.path].add(file)

    def entry_name(self, path: str) -> str:
        """The name of *path* in the private directory under this claim."""
        return f"{digest_of(path)}.{self.token:x}"

    def entries_of(self, root: Root, path: str) -> list[Entry]:
        """The entries that earlier claims of *path* left in the private directory; listed once per session."""
        if root.path not in self._entries:
            by_digest: dict[str, list[Entry]] = {}
            for entry in root.private.entries():
                if entry.state is EntryState.FORM:
                    continue  # deletion/exchange.py removes it
                by_digest.setdefault(entry.digest, []).append(entry)
            self._entries[root.path] = by_digest
        return self._entries[root.path].get(digest_of(path), [])

    def fits_quarantine(self, root: Root, size: int) -> bool:
        """
        Whether the quarantine seems to have room for *size* bytes more. If so, this session counts them. The companion
        of a file reserves the room.
        """
        if root.path not in self._quarantined_bytes:
            self._quarantined_bytes[root.path], self._planned_bytes[root.path] = companion.used_bytes(root), 0
        limit = self.settings.quarantine_max_bytes
        if self._quarantined_bytes[root.path] + size > limit and root.path not in self._counted:
            self._counted.add(root.path)
            dry_run = self.token == 0
            counted = companion.count_again(root, dry_run=dry_run)
            # what a dry run would have moved before is not there
            self._quarantined_bytes[root.path] = counted + (self._planned_bytes[root.path] if dry_run else 0)
        if self._quarantined_bytes[root.path] + size > limit:
            return False
        self._quarantined_bytes[root.path] += size
        self._planned_bytes[root.path] += size
        return True

    def registered_here_ns(self, record: FileRecord) -> int | None:
        """
        When *record* was registered, by this host's clock; None if there is no registry to ask. It is never too late,
        and too early by the time of one reply of Redis at most, which is asked once per session.
        """
        if self._ahead_ns is None:
            self._ahead_ns = self._redis_ahead_ns(record.path)
        return None if self._ahead_ns is None else record.registered_ms * 1_000_000 - self._ahead_ns

    def _redis_ahead_ns(self, path: str) -> int | None:
        """How far Redis's clock is ahead of this host's. This process may be stopped meanwhile, so it tries again."""
        samples: list[tuple[float, int]] = []
        while len(samples) < _TRIES and (not samples or samples[-1][0] > _QUICK_SECONDS):
            began, now_ns = time.monotonic(), time.time_ns()
            redis_ms, _ = self.promises.read([path])
            if not redis_ms:
                return None
            samples.append((time.monotonic() - began, redis_ms * 1_000_000 - now_ns))
        return min(samples)[1]

    @property
    def working_directories(self) -> list[str]:
        """Of the processes of this host, as they were when the session first needed them; sorted."""
        if self._working_directories is None:
            self._working_directories = in_use.working_directories()
        return self._working_directories

    def begin_tree(self, seconds: float) -> None:
        """The record of a directory begins, and may take so long."""
        self._began, self.refilled = time.monotonic(), False
        self._tree_end = self._began + seconds

    def end_tree(self) -> None:
        """The present record is no directory any more."""
        if self.refilled:
            self._refill_seconds -= time.monotonic() - self._began
        self._tree_end = math.inf

    def note_refill(self) -> None:
        """Processes add files to the directory while it is emptied."""
        self.refilled = True
        self._tree_end = min(self._tree_end, self._began + max(self._refill_seconds, 0.0))

    def has_time(self) -> bool:
        return self.may_go_on() and not self._is_share_over()

    def go_on(self) -> None:
        """Raise ``Stopped`` if the time has run out; called between two steps of one long record."""
        if not self.may_go_on():
            raise Stopped
        if self._is_share_over():
            raise ShareOver

    def _is_share_over(self) -> bool:
        return self._tree_end != math.inf and time.monotonic() > self._tree_end

    def release(self, *, is_gone: bool = False) -> None:
        """Give back the write lock on the file of the present record. *is_gone*: the file has no name any more."""
        if self.exclusive >= 0:
            # In this order: after an interrupt in between, no other file's descriptor is closed.
            exclusive, self.exclusive = self.exclusive, -1
            close(exclusive) if is_gone else in_use.give_back(exclusive)

    def close(self) -> None:
        with self._using, self._open_parents:
            try:
                self.release()
            finally:
                while self._journals:
                    self._journals.popitem()[1].close(keep=self.inside > 0)

    def _close_parents(self) -> None:
        self._parents.clear()
        self._open_parents.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
