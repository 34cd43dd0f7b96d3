"""
Compressing in place: another form of a file takes its name, and there is no instant without a whole file under it.

    look      as before a deletion: beneath the root, no symlink, no mount; kind, identity and owner as recorded
    ask       is it in use? compressing takes a write lock and keeps it to the end
    write     the other form, in the private directory, with the owner, mode, times and attributes of the first; synced
    promise   the record accepts both objects from here on: "<identity>+<identity>"
    swap      RENAME_EXCHANGE: each has the other's name
    compare   what came out is what was read, as it was then, and nobody waits to open it; else it is swapped back
    settle    the record has the new identity and size
    forget    what came out goes

No claim is needed: whoever deletes meanwhile finds one of two objects, and the record accepts both. Whoever registers,
renews or holds is not disturbed. ``Agreement`` is what the registry has to say; every change there is refused when the
record is not what was read.

After a crash the file has its name, in one form or the other, and its record accepts it. What can be left over is an
entry of the private directory, and the locked note says whose: ``discard``, the last step here too, removes it if it
is one of the two, and gives a stranger its name back. While such an entry is there, its maker may be alive: then
nobody settles the record for it.

Who opens the file between the last look and the swap keeps an open file without a name, as with any unlink. That
harms a writer only; and this is for files that nobody has touched for long.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from ..filesystem import FORM, Identity, Root, Stat, digest_of, in_use
from ..records import FileRecord
from . import checks, guarded
from . import failpoints as faults
from .journal import JournalEntry
from .session import Session
from .skip import Skip, Unchanged
from .unlink import remove


@dataclass(frozen=True, slots=True)
class NewForm:
    """
    What has the file's name now.

    Attributes:
        saved_bytes: what the disk got back; below zero where the file was decompressed.
    """

    identity: str
    size_bytes: int
    saved_bytes: int


class Agreement(Protocol):
    """What the registry has to say to an exchange."""

    def promise(self, both: str) -> bool:
        """Accept both objects from now on; False if the record is not what was read, or is being deleted."""

    def take_back(self, both: str) -> None:
        """It came to nothing: accept the old object alone."""

    def settle(self, both: str, new: NewForm) -> None:
        """It is done: accept the new object alone."""


@dataclass(slots=True)
class Source:
    """The file as it was found: its directory, its name, and itself held open."""

    record: FileRecord
    root: Root
    session: Session
    directory: int
    name: str
    fd: int
    found: Stat
    exclusive: bool = False
    used_now: bool = False

    def is_free(self) -> bool:
        return not self.exclusive or in_use.still_free(self.fd)

    def is_in(self, private: int, entry: str) -> bool:
        """Held open, its inode number cannot be another's."""
        return self.session.reader.stat(private, entry).ino == self.found.ino


def exchange(source: Source, write: Callable[[int, str], None], agreement: Agreement) -> NewForm:
    session, root = source.session, source.root
    private = session.private(root)
    if not session.is_noted:
        raise Unchanged(Skip.NO_NOTE)
    entry = f"{session.entry_name(source.record.path)}.{FORM}"
    target = os.open(entry, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=private)
    own = Identity.of(session.reader, private, entry, session.reader.fstat(target), handles=root.handles)
    accepted = replace(source.record, identity=f"{source.record.identity}+{own}")
    try:
        faults.reach("exchange.made")
        write(target, own)
        _dress(source.fd, target, used_now=source.used_now)
        os.fsync(target)
        faults.reach("exchange.written")
        after = session.reader.fstat(target)
        new = NewForm(own, after.size, source.found.freed_bytes - after.freed_bytes)
        session.note(root, source.record.path, accepted.identity)
        _swap(source, target, private, entry, accepted.identity, new, agreement)
    finally:
        os.close(target)
        discard(accepted, root, private, entry, session, held=source.fd)
        faults.reach("exchange.forgotten")
    return new


def _swap(
    source: Source, target: int, private: int, entry: str, both: str, new: NewForm, agreement: Agreement
) -> None:
    system = source.session.roots.system
    if not source.is_free():
        raise Unchanged(Skip.OPEN)
    if not agreement.promise(both):
        raise Unchanged(Skip.CHANGED)
    faults.reach("exchange.promised")
    try:
        try:
            system.exchange(private, entry, source.directory, source.name)
        except FileNotFoundError:
            raise Unchanged(Skip.MISSING) from None
        except OSError as exc:
            if exc.errno in (errno.ENOSYS, errno.EINVAL):
                raise Unchanged(Skip.NO_EXCHANGE) from None
            raise
        faults.reach("exchange.swapped")
        if not source.is_in(private, entry):
            raise Unchanged(Skip.REPLACED)  # discard gives the stranger its name back
        reason = None if source.is_free() else Skip.OPEN
        if reason is None and _rights(source.fd) != _rights(target):
            reason = Skip.CHANGED
        if reason is not None:
            system.exchange(private, entry, source.directory, source.name)
            raise Unchanged(reason)
    except (OSError, Unchanged):
        agreement.take_back(both)
        raise
    _sync(source.directory)
    agreement.settle(both, new)
    faults.reach("exchange.settled")


def _sync(directory: int) -> None:
    """The record is not to know of an exchange that a power failure may undo."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _dress(source: int, target: int, *, used_now: bool) -> None:
    """Owner, attributes, mode and times, in an order in which none undoes another."""
    found = os.fstat(source)
    own = os.fstat(target)
    if (found.st_uid, found.st_gid) != (own.st_uid, own.st_gid):
        os.fchown(target, found.st_uid, found.st_gid)
    for name in os.listxattr(source):
        os.setxattr(target, name, os.getxattr(source, name))
    os.fchmod(target, found.st_mode & 0o7777)
    os.utime(target, ns=(time.time_ns() if used_now else found.st_atime_ns, found.st_mtime_ns))


def _rights(fd: int) -> tuple[int, ...]:
    """What others may have changed since it was dressed: no write lock keeps them from it."""
    found = os.fstat(fd)
    return found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns


def is_exchanging(path: str, root: Root) -> bool:
    """Whether a form of *path* is in the private directory: somebody is at it, or died there a moment ago."""
    return any(
        name.startswith(f"{digest_of(path)}.") and name.endswith(f".{FORM}") for name in root.private.names()
    )


def recover(line: JournalEntry, root: Root, private: int, session: Session) -> None:
    """What a process left in the private directory that died at an exchange; nothing, mostly."""
    entry = f"{session.entry_name(line.path)}.{FORM}"
    try:
        if "+" not in line.identity:  # it was still writing
            os.unlink(entry, dir_fd=private)
        else:
            discard(FileRecord(line.path, 0, 0, identity=line.identity), root, private, entry, session)
    except FileNotFoundError:
        pass


def is_left(line: JournalEntry, private: int) -> bool:
    """Whether ``recover`` could do nothing with what there is."""
    try:
        os.stat(f"{digest_of(line.path)}.{line.token:x}.{FORM}", dir_fd=private, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def discard(
    record: FileRecord, root: Root, private: int, entry: str, session: Session, *, held: int = -1
) -> None:
    """Remove *entry* of the private directory if it is what *record* accepts; a stranger gets its name back."""
    try:
        while not guarded.is_same(record, root, private, entry, session):
            fd, name = place(record, root, session)
            if not _has_its_name(record, root, fd, name, session):
                guarded.put_back(private, entry, fd, name, session, directory=False)
                return
            session.roots.system.exchange(private, entry, fd, name)
        remove(private, entry, session, directory=False, held=held)
    except FileNotFoundError:
        pass
    except guarded.NotPutBack:
        raise Unchanged(Skip.NOT_PUT_BACK) from None
    except (OSError, Unchanged):
        session.left_behind = True
        raise


def _has_its_name(record: FileRecord, root: Root, fd: int, name: str, session: Session) -> bool:
    try:
        return guarded.is_same(record, root, fd, name, session)
    except FileNotFoundError:
        return False


def place(record: FileRecord, root: Root, session: Session) -> tuple[int, str]:
    try:
        return session.parent(root, record.path), os.path.basename(record.path)
    except (FileNotFoundError, NotADirectoryError):
        raise Unchanged(Skip.MISSING) from None


def compared(record: FileRecord, root: Root, session: Session, fd: int, name: str) -> Stat:
    found = stat_of(session, fd, name)
    no = checks.objection(record, root, found, session)
    if no is not None:
        raise Unchanged.of(no.reason or no.outcome.value)
    if not guarded.is_same(record, root, fd, name, session):
        raise Unchanged(Skip.REPLACED)
    return found


def stat_of(session: Session, fd: int, name: str) -> Stat:
    try:
        return session.reader.stat(fd, name)
    except FileNotFoundError:
        raise Unchanged(Skip.MISSING) from None
