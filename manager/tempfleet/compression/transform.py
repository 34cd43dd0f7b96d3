"""
Compress or decompress one file.

deletion/exchange.py writes the other form and lets it take the name. This module decides whether that may begin: only
if no process uses the file, and only if it saves enough.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from ..deletion import Agreement, NewForm, Session, Skip, Source, Unchanged, exchange, failpoints
from ..filesystem import Identity, Root, Stat, Use, close, in_use
from ..records import NO_IDENTITY, FileRecord
from .format import Header, TooLarge, read_header, write_compressed, write_plain

MIN_SAVING: Final = 0.1
"""The share of its bytes that a file has to save; otherwise it is incompressible."""

_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class IdleRule:
    """A file is compressed if it was not used for *seconds* and has at least *min_bytes*."""

    seconds: float
    min_bytes: int


def compress(
    record: FileRecord,
    root: Root,
    session: Session,
    agreement: Agreement,
    rule: IdleRule,
    step: Callable[[], None],
) -> NewForm:
    """
    Replace the file of *record* by its compressed form.

    Args:
        step: called between two chunks. It may raise to end the work; then the file stays as it is.

    Raises:
        Unchanged: the file stays as it is; INCOMPRESSIBLE if compression would save too little.
        OSError: the file stays as it is.
    """
    with _idle_source(record, root, session, rule) as (source, use):
        if use is not Use.FREE:
            raise Unchanged.of(use.value)
        _keep_access_time(source.fd)
        return exchange.exchange(source, _compressed_writer(source, step), agreement)


def _compressed_writer(source: Source, step: Callable[[], None]) -> Callable[[int, str], None]:
    def check_and_step() -> None:
        step()
        if not source.is_free():
            raise Unchanged(Skip.OPEN)

    def write(target: int, identity: str) -> None:
        size, limit = source.status.size, int(source.status.freed_bytes * (1 - MIN_SAVING))
        try:
            write_compressed(
                source.fd, target, identity=identity, size_bytes=size, max_bytes=limit, step=check_and_step
            )
        except TooLarge:
            raise Unchanged(Skip.INCOMPRESSIBLE) from None

    return write


def _keep_access_time(fd: int) -> None:
    """Reading a file to compress it does not count as a use."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NOATIME)
    except (OSError, AttributeError):
        pass  # we are not the owner; or macOS, which has no such flag


def check_idle(record: FileRecord, root: Root, session: Session, rule: IdleRule) -> None:
    """Raises Unchanged if ``compress`` would not begin; changes nothing."""
    with _idle_source(record, root, session, rule) as (_, use):
        if use is not Use.FREE:
            raise Unchanged.of(use.value)


def decompress(record: FileRecord, root: Root, session: Session, agreement: Agreement) -> NewForm:
    """
    Replace the file of *record* by its plain form. Processes that have it open go on reading the compressed form.

    Raises:
        Unchanged: PLAIN if it is not compressed; OPEN if a process reads it and secure deletion would overwrite it; or
            the file is missing, or not ours any more.
        OSError: it stays as it is; ENOSPC if there is no room for the plain form.
    """
    fd, name = exchange.parent_of(record, root, session)
    if exchange.status_of(session, fd, name).kind != stat.S_IFREG:
        raise Unchanged(Skip.REPLACED if record.is_compressed else Skip.PLAIN)
    failpoints.reach("exchange.found")
    held, exclusive = _open_compressed(fd, name, session)
    try:
        header = read_header(held, session.reader)
        if header is None and not record.is_compressed:
            raise Unchanged(Skip.PLAIN)
        if header is not None and record.identity == NO_IDENTITY:
            record = replace(record, identity=header.identity)
        status = exchange.checked_status(record, root, session, fd, name)
        _refuse_replaced(session, held, status)
        # The registered file was rewritten in place. Another user's plain file does not get this far.
        if header is None:
            raise Unchanged(Skip.PLAIN)
        _refuse_full_disk(header, fd)
        source = Source(record, root, session, fd, name, held, status, exclusive=exclusive, used_now=True)
        return exchange.exchange(source, _plain_writer(held, header), agreement)
    finally:
        in_use.give_back(held)


def _open_compressed(fd: int, name: str, session: Session) -> tuple[int, bool]:
    """
    Open the compressed form; also returns whether we hold a write lock on it.

    Processes that have it open may go on reading. The exception is secure deletion: they would read what it is
    overwritten with.
    """
    if not session.secure:
        return os.open(name, _READ, dir_fd=fd), False
    use, held = in_use.hold(fd, name, write_locks=session.write_locks)
    if use in (Use.OPEN, Use.LOCKED):
        in_use.give_back(held)
        raise Unchanged.of(use.value)
    if held < 0:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return held, use is Use.FREE


def _refuse_full_disk(header: Header, fd: int) -> None:
    """If there is no room, do not begin: until it failed, other processes would find no room either."""
    disk = os.fstatvfs(fd)
    # A tmpfs without a limit has no blocks.
    if disk.f_blocks and header.size_bytes > disk.f_bavail * disk.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _plain_writer(held: int, header: Header) -> Callable[[int, str], None]:
    def write(target: int, _identity: str) -> None:
        write_plain(held, target, header)

    return write


def is_settled(record: FileRecord) -> bool:
    """Whether *record* accepts one object only: no exchange is in progress, and none was interrupted."""
    return len(Identity(record.identity).alternatives) == 1


class Settled(NamedTuple):
    """
    The result of an exchange that a crash interrupted.

    Attributes:
        form: the form that has the file's name.
        has_happened: whether that is the new form.
    """

    form: NewForm
    is_compressed: bool
    has_happened: bool


def settled_form(record: FileRecord, root: Root, session: Session) -> Settled:
    """
    Returns what the record has to accept after a crash; now it accepts two objects.

    Raises:
        Unchanged: EXCHANGING while the other process may be alive; or the file is missing, or not ours any more.
    """
    fd, name = exchange.parent_of(record, root, session)
    if exchange.is_exchanging(record.path, root):
        raise Unchanged(Skip.EXCHANGING)
    status = exchange.checked_status(record, root, session, fd, name)
    old, new = Identity(record.identity).alternatives
    identity = new if new.matches(status) else old
    held = os.open(name, _READ, dir_fd=fd)
    try:
        header = read_header(held, session.reader)
    finally:
        close(held)
    saved = header.size_bytes - status.size if header and identity == new else 0
    return Settled(NewForm(identity, status.size, saved), header is not None, identity == new)


@contextmanager
def _idle_source(
    record: FileRecord, root: Root, session: Session, rule: IdleRule
) -> Iterator[tuple[Source, Use]]:
    fd, name = exchange.parent_of(record, root, session)
    if record.is_created and record.identity == NO_IDENTITY:
        record = _with_identity(record, root, session, fd, name)
    status = exchange.checked_status(record, root, session, fd, name)
    if Identity(record.identity).is_weak:
        raise Unchanged(Skip.WEAK_IDENTITY)
    if status.nlink > 1:
        raise Unchanged(Skip.LINKED)
    if status.size < rule.min_bytes:
        raise Unchanged(Skip.SMALL)
    # The plain form would come back without its holes, and perhaps find no room.
    if status.freed_bytes < status.size:
        raise Unchanged(Skip.SPARSE)
    times = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if max(times.st_atime, times.st_mtime) > time.time() - rule.seconds:
        raise Unchanged(Skip.RECENT)
    failpoints.reach("exchange.found")
    try:
        use, held = in_use.hold(fd, name, write_locks=root.write_locks)
    except BlockingIOError:  # another process holds a write lock, perhaps to compress it too
        raise Unchanged(Skip.OPEN) from None
    try:
        if held >= 0:
            _refuse_replaced(session, held, status)
        yield Source(record, root, session, fd, name, held, status, exclusive=use is Use.FREE), use
    finally:
        if held >= 0:
            in_use.give_back(held)


def _with_identity(record: FileRecord, root: Root, session: Session, fd: int, name: str) -> FileRecord:
    """A created file is identified by its name alone until its first exchange."""
    if root is not session.roots.base or record.path != root.prefix + name:
        raise Unchanged(Skip.NOT_PRIVATE)
    if not root.keeps_names_of(record.uid):
        raise Unchanged(Skip.NOT_PRIVATE)
    status = exchange.status_of(session, fd, name)
    identity = Identity.of(session.reader, fd, name, status, handles=root.handles)
    return replace(record, identity=identity)


def _refuse_replaced(session: Session, held: int, status: Stat) -> None:
    """Another file can take the name between the check and the opening."""
    opened = session.reader.fstat(held)
    if (opened.ino, opened.device) != (status.ino, status.device):
        raise Unchanged(Skip.REPLACED)
