"""
A file's two forms: compressing one that is idle, and giving it its plain form back.

The steps that make another form and let it take the name are in ``exchange``; here is what they are taken for, and
when: never while somebody uses the file, never where it would save little.
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

from ..deletion import Agreement, NewForm, Session, Skip, Source, Unchanged, exchange
from ..deletion import failpoints as faults
from ..filesystem import Identity, Root, Stat, Use, in_use
from ..records import NO_IDENTITY, FileRecord
from . import format as packing
from .format import Packed

LEAST_SAVED: Final = 0.1
"""Of its bytes; a file that would give back less stays as it is."""

_READ: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Idle:
    """Which files are worth it."""

    seconds: float
    least_bytes: int


def compress(
    record: FileRecord,
    root: Root,
    session: Session,
    agreement: Agreement,
    idle: Idle,
    step: Callable[[], None],
) -> NewForm:
    """
    Give the file of *record* its compressed form.

    Args:
        step: called now and then; what it raises ends the work, and the file stays as it is.

    Raises:
        Unchanged: it stays as it is; INCOMPRESSIBLE if it would save too little.
        OSError: it stays as it is.
    """
    with _found(record, root, session, idle) as (source, use):
        if use is not Use.FREE:
            raise Unchanged.of(use.value)

        def go_on() -> None:
            step()
            if not source.is_free():
                raise Unchanged(Skip.OPEN)

        _leave_no_trace(source.fd)
        before = source.found.freed_bytes
        most = int(before * (1 - LEAST_SAVED))

        def write(target: int, own: str) -> None:
            try:
                packing.pack(
                    source.fd, target, own=own, size_bytes=source.found.size, most_bytes=most, step=go_on
                )
            except packing.TooLarge:
                raise Unchanged(Skip.INCOMPRESSIBLE) from None

        return exchange.exchange(source, write, agreement)


def _leave_no_trace(fd: int) -> None:
    """Reading a file to compress it is no use of it."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NOATIME)
    except (OSError, AttributeError):
        pass  # not the owner; or macOS, which has no such flag


def look(record: FileRecord, root: Root, session: Session, idle: Idle) -> None:
    """Whether ``compress`` would try; raises Unchanged if not, changes nothing."""
    with _found(record, root, session, idle) as (_, use):
        if use is not Use.FREE:
            raise Unchanged.of(use.value)


def decompress(record: FileRecord, root: Root, session: Session, agreement: Agreement) -> NewForm:
    """
    Give the file of *record* its plain form back. Who has it open goes on reading what was there.

    Raises:
        Unchanged: PLAIN if it is that already; OPEN if a process reads it and it is to be overwritten; or the file is
            missing, or not ours any more.
        OSError: it stays as it is; ENOSPC where there is no room for the plain form.
    """
    fd, name = exchange.place(record, root, session)
    if exchange.stat_of(session, fd, name).kind != stat.S_IFREG:
        raise Unchanged(Skip.REPLACED if record.is_compressed else Skip.PLAIN)
    faults.reach("exchange.found")
    held, exclusive = _opened(fd, name, session)
    try:
        form = packing.packed(held, session.reader)
        if form is None and not record.is_compressed:
            raise Unchanged(Skip.PLAIN)
        if form is not None and record.identity == NO_IDENTITY:
            record = replace(record, identity=form.identity)
        found = exchange.compared(record, root, session, fd, name)
        _refuse_another(session, held, found)
        if form is None:  # written anew in place; another's plain file says nothing of this one
            raise Unchanged(Skip.PLAIN)
        _refuse_too_large(form, fd)
        source = Source(record, root, session, fd, name, held, found, exclusive=exclusive, used_now=True)
        return exchange.exchange(source, _unpacked(held, form), agreement)
    finally:
        os.close(held)


def _opened(fd: int, name: str, session: Session) -> tuple[int, bool]:
    """
    Open the compressed form; also returns whether we hold a write lock on it.

    Processes that have it open may go on reading. The exception is secure deletion: they would read what it is
    overwritten with.
    """
    if not session.secure:
        return os.open(name, _READ, dir_fd=fd), False
    use, held = in_use.hold(fd, name, write_locks=session.write_locks)
    if use in (Use.OPEN, Use.LOCKED):
        os.close(held)
        raise Unchanged.of(use.value)
    if held < 0:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return held, use is Use.FREE


def _refuse_too_large(form: Packed, fd: int) -> None:
    """What finds no room is not begun with: until it failed, everybody else would find none either."""
    disk = os.fstatvfs(fd)
    if disk.f_blocks and form.size_bytes > disk.f_bavail * disk.f_frsize:  # a tmpfs without a limit has none
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _unpacked(held: int, form: Packed) -> Callable[[int, str], None]:
    def write(target: int, _own: str) -> None:
        packing.unpack(held, target, form=form, step=lambda: None)

    return write


def is_settled(record: FileRecord) -> bool:
    """Whether *record* stands for one object: no exchange is under way, or was cut off."""
    return len(Identity(record.identity).alternatives) == 1


class Settled(NamedTuple):
    """What became of an exchange that a crash cut off: the form that the file has, and whether it came to that."""

    form: NewForm
    is_packed: bool
    has_happened: bool


def settled(record: FileRecord, root: Root, session: Session) -> Settled:
    """
    What a record that accepts two objects stands for, after a crash.

    Raises:
        Unchanged: EXCHANGING while its maker may be alive; or the file is missing, or not ours any more.
    """
    fd, name = exchange.place(record, root, session)
    if exchange.is_exchanging(record.path, root):
        raise Unchanged(Skip.EXCHANGING)
    found = exchange.compared(record, root, session, fd, name)
    old, new = Identity(record.identity).alternatives
    own = new if new.matches(found) else old
    held = os.open(name, _READ, dir_fd=fd)
    try:
        form = packing.packed(held, session.reader)
    finally:
        os.close(held)
    saved = form.size_bytes - found.size if form and own == new else 0
    return Settled(NewForm(own, found.size, saved), form is not None, own == new)


@contextmanager
def _found(record: FileRecord, root: Root, session: Session, idle: Idle) -> Iterator[tuple[Source, Use]]:
    fd, name = exchange.place(record, root, session)
    if record.is_created and record.identity == NO_IDENTITY:
        record = _named(record, root, session, fd, name)
    found = exchange.compared(record, root, session, fd, name)
    if Identity(record.identity).is_weak:
        raise Unchanged(Skip.WEAK_IDENTITY)
    if found.nlink > 1:
        raise Unchanged(Skip.LINKED)
    if found.size < idle.least_bytes:
        raise Unchanged(Skip.SMALL)
    if found.freed_bytes < found.size:  # it would come back without its holes, and perhaps find no room
        raise Unchanged(Skip.SPARSE)
    times = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if max(times.st_atime, times.st_mtime) > time.time() - idle.seconds:
        raise Unchanged(Skip.RECENT)
    faults.reach("exchange.found")
    try:
        use, held = in_use.hold(fd, name, write_locks=session.write_locks)
    except BlockingIOError:  # another process holds a write lock, perhaps to compress it too
        raise Unchanged(Skip.OPEN) from None
    try:
        if held >= 0:
            _refuse_another(session, held, found)
        yield Source(record, root, session, fd, name, held, found, exclusive=use is Use.FREE), use
    finally:
        if held >= 0:
            os.close(held)


def _named(record: FileRecord, root: Root, session: Session, fd: int, name: str) -> FileRecord:
    """A created file is known by its name alone, until it has two forms."""
    if root is not session.roots.base or record.path != root.prefix + name:
        raise Unchanged(Skip.NOT_PRIVATE)
    found = exchange.stat_of(session, fd, name)
    identity = Identity.of(session.reader, fd, name, found, handles=root.handles)
    return replace(record, identity=identity)


def _refuse_another(session: Session, held: int, found: Stat) -> None:
    """The name can have changed hands between the look and the opening."""
    opened = session.reader.fstat(held)
    if (opened.ino, opened.device) != (found.ino, found.device):
        raise Unchanged(Skip.REPLACED)
