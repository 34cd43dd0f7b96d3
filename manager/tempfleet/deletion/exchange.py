"""
Exchange a file's two forms, compressed and plain: at every instant there is one whole file under its name.

    look      as before a deletion: beneath the root, no symlink, no mount; kind, identity and owner as recorded
    ask       is it in use? compression takes a write lock and keeps it to the end
    write     the other form, in the private directory, with the owner, mode, times and attributes of the first; synced
    promise   the record accepts both objects from here on: "<identity>+<identity>"
    swap      RENAME_EXCHANGE: each form has the other's name
    compare   the form that came out is the one that was read, unchanged, and no process waits to open it; otherwise
              they are swapped back
    settle    the record has the new identity and size
    forget    the form that came out is removed

No claim is needed. A worker that deletes meanwhile finds one of two objects, and the record accepts both. Processes
that register, renew or hold are not disturbed. ``Agreement`` is the registry's part. Each of its changes is refused if
the record is not as it was read.

After a crash, the name belongs to one of the two forms, and the record accepts it. An entry of the private directory
can be left over. The locked journal contains its path. ``discard``, which is the last step here too, removes the entry
if it is one of the two forms, and gives another user's file its name back. While there is such an entry, the other
process may be alive, so the record is not settled.

A process that opens the file between the last check and the swap keeps an open file without a name, as with any unlink.
That harms only a process that writes, and the files here were not used for long.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from ..filesystem import FORM, EntryState, Identity, Root, Stat, close, digest_of, in_use
from ..records import FileRecord
from . import checks, moving
from . import failpoints as faults
from .comparison import SAME, UNKNOWN, compare
from .session import Session
from .skip import Skip, Unchanged
from .unlink import remove


@dataclass(frozen=True, slots=True)
class NewForm:
    """
    The form that has the file's name now.

    Attributes:
        saved_bytes: what the disk got back; below zero if the file was decompressed.
    """

    identity: str
    size_bytes: int
    saved_bytes: int


class Agreement(Protocol):
    """The registry's part in an exchange."""

    def promise(self, both: str) -> bool:
        """Accept both objects from now on. Returns False if the record has changed, or is being deleted."""

    def take_back(self, both: str) -> None:
        """The exchange failed: accept only the old object."""

    def settle(self, both: str, new: NewForm) -> None:
        """The exchange is done: accept only the new object."""


@dataclass(slots=True)
class Source:
    """The file to exchange: its directory, its name, its status, and the file itself, open."""

    record: FileRecord
    root: Root
    session: Session
    directory: int
    name: str
    fd: int
    status: Stat
    exclusive: bool = False
    used_now: bool = False

    def is_free(self) -> bool:
        return not self.exclusive or in_use.still_free(self.fd)

    def is_in(self, private: int, entry: str) -> bool:
        """Whether *entry* is this file. While it is open, no other file can get its inode number."""
        return self.session.reader.stat(private, entry).ino == self.status.ino


def exchange(source: Source, write: Callable[[int, str], None], agreement: Agreement) -> NewForm:
    """
    Replace *source* by the form that *write* writes.

    Args:
        write: called with a descriptor of the new file and its identity.
    """
    session, root = source.session, source.root
    private = session.private(root)
    if not session.is_noted:
        raise Unchanged(Skip.NO_NOTE)
    entry = f"{session.entry_name(source.record.path)}.{FORM}"
    session.inside += 1
    target = os.open(entry, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=private)
    try:
        own = Identity.of(session.reader, private, entry, session.reader.fstat(target), handles=root.handles)
    except BaseException:
        close(target)
        raise
    accepted = replace(source.record, identity=f"{source.record.identity}+{own}")
    try:
        faults.reach("exchange.made")
        write(target, own)
        _copy_attributes(source.fd, target, used_now=source.used_now)
        os.fsync(target)
        faults.reach("exchange.written")
        after = session.reader.fstat(target)
        new = NewForm(own, after.size, source.status.freed_bytes - after.freed_bytes)
        session.note(root, accepted)
        _swap(source, target, private, entry, accepted.identity, new, agreement)
    finally:
        close(target)
        discard(accepted, root, private, entry, session, held=source.fd)
        session.inside -= 1
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
            raise Unchanged(Skip.REPLACED)  # discard gives the other file its name back
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
    """Otherwise a power failure could undo an exchange that the record already contains."""
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fsync(fd)
    finally:
        close(fd)


def _copy_attributes(source: int, target: int, *, used_now: bool) -> None:
    """Copy owner, extended attributes, mode and times, in an order in which no step undoes another."""
    status = os.fstat(source)
    current = os.fstat(target)
    if (status.st_uid, status.st_gid) != (current.st_uid, current.st_gid):
        os.fchown(target, status.st_uid, status.st_gid)
    for name in os.listxattr(source):
        os.setxattr(target, name, os.getxattr(source, name))
    os.fchmod(target, status.st_mode & 0o7777)
    os.utime(target, ns=(time.time_ns() if used_now else status.st_atime_ns, status.st_mtime_ns))


def _rights(fd: int) -> tuple[int, ...]:
    """What other processes may have changed since it was copied. A write lock does not prevent that."""
    status = os.fstat(fd)
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns


def is_exchanging(path: str, root: Root) -> bool:
    """Whether a form of *path* is in the private directory: a process works on it, or has just died there."""
    digest = digest_of(path)
    return any(entry.digest == digest and entry.state is EntryState.FORM for entry in root.private.entries())


def recover(file: FileRecord, root: Root, private: int, session: Session) -> None:
    """Remove what a process left in the private directory if it died in an exchange of *file*."""
    entry = f"{session.entry_name(file.path)}.{FORM}"
    try:
        if "+" not in file.identity:  # the process was still writing
            os.unlink(entry, dir_fd=private)
        else:
            discard(file, root, private, entry, session)
    except FileNotFoundError:
        pass


def discard(
    record: FileRecord, root: Root, private: int, entry: str, session: Session, *, held: int = -1
) -> None:
    """Remove *entry* of the private directory if *record* accepts it. Any other file gets its name back."""
    try:
        while (answer := compare(record, root, private, entry, session.reader)) is not SAME:
            if answer is UNKNOWN:
                raise OSError(errno.EOPNOTSUPP, "the identity cannot be told")
            fd, name = parent_of(record, root, session)
            if not _has_its_name(record, root, fd, name, session):
                moving.put_back(private, entry, fd, name, session)
                return
            session.roots.system.exchange(private, entry, fd, name)
        remove(private, entry, session, directory=False, exclusive=held)
    except FileNotFoundError:
        pass
    except moving.NotPutBack:
        raise Unchanged(Skip.NOT_PUT_BACK) from None


def _has_its_name(record: FileRecord, root: Root, fd: int, name: str, session: Session) -> bool:
    try:
        return compare(record, root, fd, name, session.reader) is SAME
    except FileNotFoundError:
        return False


def parent_of(record: FileRecord, root: Root, session: Session) -> tuple[int, str]:
    """The directory that the file is in, and its name there."""
    try:
        return session.parent(root, record.path), os.path.basename(record.path)
    except (FileNotFoundError, NotADirectoryError):
        raise Unchanged(Skip.MISSING) from None


def checked_status(record: FileRecord, root: Root, session: Session, fd: int, name: str) -> Stat:
    """The status of the registered file; raises Unchanged for any other file, and if it may not be deleted."""
    status = status_of(session, fd, name)
    no = checks.objection(record, root, status, session)
    if no is not None:
        raise Unchanged.of(no.reason or no.outcome.value)
    if compare(record, root, fd, name, session.reader) is not SAME:
        raise Unchanged(Skip.REPLACED)
    return status


def status_of(session: Session, fd: int, name: str) -> Stat:
    try:
        return session.reader.stat(fd, name)
    except FileNotFoundError:
        raise Unchanged(Skip.MISSING) from None
