"""
The guarded way: move aside, compare, unlink; for every name that a caller chose.

Between a check and an unlink by name, whoever may write to the directory can put another file there: done by
descriptor, that race was still lost in 28 % of the tries under attack. So the entry is first renamed into the
private directory, where only this user and root can reach it. *What came along* is compared with the record;
if it is another object, it goes back to where it was, over nothing. The look before the rename only saves
innocent files the trip.

    look      parent beneath the root, no symlink, no mount; kind, inode, birth time and owner as recorded
    ask       is it in use? (the write lock taken here is kept to the end)
    move      rename into the private directory as <digest of the path>.<token>
    compare   file handle, or inode and birth time, there
    unlink    there

A crash leaves the file either under its own name or under that digest, where the next claim of the record
finds it; it is compared again, and deleted or given back.
"""

from __future__ import annotations

import errno
import os
import stat

from ..filesystem import O_PATH, Entry, Identity, Root, Use, in_use
from ..logs import logger, printable
from ..records import Deletion, FileRecord, Flag, Outcome, Way
from . import checks
from . import failpoints as faults
from .session import Session, Stopped
from .unlink import remove

# Looked up once: an enum's members cost more than a tuple to reach, and each file needs several.
DELETED, MISSING, REPLACED = Outcome.DELETED, Outcome.MISSING, Outcome.REPLACED
GUARDED = Way.GUARDED
DIRECTORY = Flag.DIRECTORY.value
UNVERIFIED = Flag.UNVERIFIED.value
_LONGEST_BESIDE = 255 - 17
"""Bytes of a name that leave room for a dot and what tells it from the name that was taken."""


class NotPutBack(Exception):
    """A file could not be given its name back; it is safe in the private directory, and noted."""


def delete(record: FileRecord, root: Root, session: Session) -> Deletion:
    """Delete what was registered as *record*, whether it still has its name or an earlier claim moved it."""
    deletion = _delete_by_name(record, root, session)
    if deletion.outcome is not MISSING and deletion.outcome is not REPLACED:
        return deletion
    if (resumed := _resume(record, root, session)) is not None:
        return resumed
    if deletion.outcome is MISSING:  # perhaps it was just now given its name back
        return _delete_by_name(record, root, session)
    return deletion


def look(record: FileRecord, root: Root, session: Session) -> Deletion:
    """What ``delete`` would do, changing nothing."""
    deletion = look_by_name(record, root, session)
    if deletion.outcome in (Outcome.MISSING, Outcome.REPLACED):
        private = root.private.peek()
        for entry in session.entries_of(root, record.path):
            if is_same(record, root, private, entry.name, session):
                freed = given_back(record, private, entry.name, session)
                return Deletion(record, Outcome.DELETED, Way.GUARDED, freed)
    return deletion


def given_back(record: FileRecord, fd: int, name: str, session: Session) -> int:
    """The bytes that removing *name* of directory *fd* would give back, as far as that is looked into."""
    if DIRECTORY in record.flags:
        return checks.inspect_tree(fd, name, session)[1]
    return session.reader.stat(fd, name).freed_bytes


def _delete_by_name(record: FileRecord, root: Root, session: Session) -> Deletion:
    try:
        fd = session.parent(root, record.path)
        name = record.path[record.path.rindex("/") + 1 :]
        found = session.reader.stat(fd, name)
    except (FileNotFoundError, NotADirectoryError) as exc:
        return checks.not_found(record, exc)
    if UNVERIFIED in record.flags:
        known = checks.verify(record, root, fd, name, found, session)
        if isinstance(known, Deletion):
            return known
        record = known
    if (no := checks.objection(record, root, found, session)) is not None:
        return no
    faults.reach("guarded.found")
    held = -1
    if session.asks_in_use or DIRECTORY in record.flags:
        no, held = checks.ask_in_use(record, fd, name, session, Way.GUARDED)
        if no is not None:
            return no
    private = session.private(root)
    entry = session.entry_name(record.path)
    try:
        no = move_and_compare(record, root, fd, name, entry, held, session)
        if no is not None:
            return no
        freed = _remove(record, private, entry, fd, name, held, session)
    finally:
        if held >= 0:
            os.close(held)
    if DIRECTORY not in record.flags:
        freed = found.freed_bytes
    return Deletion(record, DELETED, GUARDED, freed)


def look_by_name(record: FileRecord, root: Root, session: Session) -> Deletion:
    """The same, with no eye for what an earlier claim left in the private directory."""
    try:
        fd = session.parent(root, record.path)
        name = record.path[record.path.rindex("/") + 1 :]
        found = session.reader.stat(fd, name)
        if UNVERIFIED in record.flags:
            known = checks.verify(record, root, fd, name, found, session)
            if isinstance(known, Deletion):
                return known
            record = known
        if (no := checks.objection(record, root, found, session)) is not None:
            return no
        handles = Identity(record.identity).handles if root.handles else []
        if handles and session.reader.handle(fd, name) not in handles:
            return Deletion(record, Outcome.REPLACED, Way.GUARDED)
    except (FileNotFoundError, NotADirectoryError) as exc:
        return checks.not_found(record, exc)
    no, held = checks.ask_in_use(record, fd, name, session, Way.GUARDED)
    if held >= 0:
        os.close(held)
    if no is not None:
        return no
    freed = checks.inspect_tree(fd, name, session)[1] if DIRECTORY in record.flags else found.freed_bytes
    return Deletion(record, Outcome.DELETED, Way.GUARDED, freed)


def move_and_compare(
    record: FileRecord, root: Root, fd: int, name: str, entry: str, held: int, session: Session
) -> Deletion | None:
    """
    Move *name* of directory *fd* into the private directory as *entry*; None if it is the registered object.

    Anything else has its name back when this returns.
    """
    private = session.private(root)
    identity = Identity(record.identity)
    pinned = _pin(fd, name) if identity.is_weak else -1
    try:
        if pinned >= 0 and not identity.matches(session.reader.fstat(pinned)):
            return Deletion(record, Outcome.REPLACED, Way.GUARDED)
        os.rename(name, entry, src_dir_fd=fd, dst_dir_fd=private)
        faults.reach("guarded.moved")
        if pinned >= 0:
            same = session.reader.stat(private, entry).ino == os.fstat(pinned).st_ino
        else:
            same = is_same(record, root, private, entry, session)
    finally:
        if pinned >= 0:
            os.close(pinned)
    if not same:
        put_back(private, entry, fd, name, session, directory=is_directory(private, entry))
        return Deletion(record, Outcome.REPLACED, Way.GUARDED, reason="raced")
    faults.reach("guarded.compared")
    if held >= 0 and session.use is Use.FREE and not in_use.still_free(held):
        put_back(private, entry, fd, name, session, directory=False)
        session.use = Use.OPEN
        return Deletion(record, Outcome.BUSY, Way.GUARDED, reason=Use.OPEN.value)
    return None


def _pin(fd: int, name: str) -> int:
    """
    Held open, an inode number cannot be given to another file: what a weak identity needs, as a rename
    changes it.
    """
    return os.open(name, O_PATH | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)


def is_same(record: FileRecord, root: Root, private: int, entry: str, session: Session) -> bool:
    """
    Whether *entry* of the private directory is the registered object.

    Raises:
        OSError: EOPNOTSUPP where this process cannot tell.
    """
    identity = Identity(record.identity)
    handles = identity.handles if root.handles else []
    if handles:
        return session.reader.handle(private, entry) in handles
    found = session.reader.stat(private, entry)
    if not identity.matches(found, moved=True):
        return False
    if not identity.can_be_told(found, handles=False):
        raise OSError(errno.EOPNOTSUPP, "the identity cannot be told")
    return True


def _remove(
    record: FileRecord, private: int, entry: str, fd: int, name: str, held: int, session: Session
) -> int:
    """
    Remove what was proven to be the registered object.

    What cannot be removed gets its name back, so that a person finds it there. Out of time, it stays where it
    is and the next claim goes on with it.
    """
    try:
        freed = remove(private, entry, session, directory=DIRECTORY in record.flags, held=held)
    except FileNotFoundError:
        return 0  # an earlier claimer, not dead but slow, removed it
    except Stopped:
        # The next claim of the record goes on; but the record may go to another file of that name before. Then the note
        # tells whose this is. What recovery puts back is no longer what a weak identity says, so there none is kept.
        session.left_behind = session.left_behind or not Identity(record.identity).is_weak
        raise
    except OSError:
        put_back(private, entry, fd, name, session, directory=DIRECTORY in record.flags)
        raise
    faults.reach("guarded.unlinked")
    return freed


def put_back(private: int, entry: str, fd: int, name: str, session: Session, *, directory: bool) -> None:
    """
    Give a file its name again, over nothing; where the name is taken, one beside it.

    Raises:
        NotPutBack: it has to stay in the private directory.
    """
    given = name
    while True:
        try:
            session.roots.system.rename_noreplace(private, entry, fd, given, directory=directory)
            break
        except OSError as exc:
            if exc.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR):
                given = f"{os.fsdecode(os.fsencode(name)[:_LONGEST_BESIDE])}.{os.urandom(8).hex()}"
            else:
                session.left_behind = True
                logger.error("%s could not be put back (%s); it is kept as %s", printable(name), exc, entry)
                raise NotPutBack from exc
    faults.reach("guarded.put-back")
    if given != name:
        logger.warning("%s was taken; what was moved aside is %s", printable(name), printable(given))


def _resume(record: FileRecord, root: Root, session: Session) -> Deletion | None:
    """Finish what a dead claimer of this record began; None if there is nothing of it."""
    for left in session.entries_of(root, record.path):
        private = session.private(root)
        try:
            if is_same(record, root, private, left.name, session):
                return finish(record, private, left, session)
            if not left.aside:  # what is in its grace period has a record of its own
                _give_back(record, root, private, left, session)
        except FileNotFoundError:
            continue  # another claimer, or a recovery scan, was quicker
    return None


def finish(record: FileRecord, private: int, left: Entry, session: Session) -> Deletion:
    """Remove what is *left* of *record* in the private directory, proven to be it."""
    session.use = Use.NOT_ASKED
    found = session.reader.stat(private, left.name)
    freed = remove(private, left.name, session, directory=DIRECTORY in record.flags)
    if left.aside:
        os.unlink(left.from_name, dir_fd=private)
    return Deletion(
        record, Outcome.DELETED, Way.GUARDED, freed if DIRECTORY in record.flags else found.freed_bytes
    )


def _give_back(record: FileRecord, root: Root, private: int, left: Entry, session: Session) -> None:
    fd = session.parent(root, record.path)
    name = record.path[record.path.rindex("/") + 1 :]
    put_back(private, left.name, fd, name, session, directory=is_directory(private, left.name))


def is_directory(private: int, entry: str) -> bool:
    return stat.S_ISDIR(os.stat(entry, dir_fd=private, follow_symlinks=False).st_mode)
