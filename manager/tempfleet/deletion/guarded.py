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
from ..records import Deletion, FileRecord, Flag, Outcome
from ..records import Way as Word
from . import checks
from . import failpoints as faults
from .plan import Plan, Way
from .session import Session, Stopped
from .unlink import remove

# Looked up once: an enum's members cost more than a tuple to reach, and each file needs several.
_DELETED, _MISSING, _REPLACED = Outcome.DELETED, Outcome.MISSING, Outcome.REPLACED
_GUARDED = Word.GUARDED
_DIRECTORY = Flag.DIRECTORY.value
_UNVERIFIED = Flag.UNVERIFIED.value
_LONGEST_BESIDE = 255 - 17
"""Bytes of a name that leave room for a dot and what tells it from the name that was taken."""


class NotPutBack(Exception):
    """A file could not be given its name back; it is safe in the private directory, and noted."""


class Guarded:
    """The way of names that a caller chose."""

    def plan(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        """Of the file under its name; or of what an earlier claim left of it in the private directory."""
        plan = self.plan_by_name(record, root, session)
        if not isinstance(plan, Deletion) or plan.outcome not in (_MISSING, _REPLACED):
            return plan
        if (left := self.plan_left(record, root, plan, session)) is not None:
            return left
        if plan.outcome is _MISSING:  # perhaps it was just now given its name back
            return self.plan_by_name(record, root, session)
        return plan

    def plan_by_name(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        """Of the file under its name only."""
        try:
            fd = session.parent(root, record.path)
            name = record.path[record.path.rindex("/") + 1 :]
            found = session.reader.stat(fd, name)
        except (FileNotFoundError, NotADirectoryError) as exc:
            return checks.not_found(record, exc)
        if _UNVERIFIED in record.flags:
            verified = checks.verify(record, root, fd, name, found, session)
            if isinstance(verified, Deletion):
                return verified
            record = verified
        if (objection := checks.objection(record, root, found, session)) is not None:
            return objection
        faults.reach("guarded.found")
        exclusive = -1
        if session.asks_in_use or _DIRECTORY in record.flags:
            objection, exclusive = checks.ask_in_use(record, fd, name, session, _GUARDED)
            if objection is not None:
                return objection
        expected = Deletion(record, _DELETED, _GUARDED, found.freed_bytes)
        return Plan(self, record, root, fd, name, expected, exclusive, found.size)

    def plan_left(self, record: FileRecord, root: Root, by_name: Deletion, session: Session) -> Plan | None:
        """
        Of what earlier claims left in the private directory; None if there is nothing.

        If none of it is the registered object, *by_name* stays the outcome. Carrying out the plan gives it its name
        back.
        """
        left = session.entries_of(root, record.path)
        private = root.private.peek()
        for entry in left:
            try:
                if is_same(record, root, private, entry.name, session):
                    return plan_of_left(self, record, root, entry, session)
            except FileNotFoundError:
                continue  # another claimer, or a recovery scan, was quicker
        if not left:
            return None
        return Plan(self, record, root, private, left[0].name, by_name, left=left[0])

    def carry_out(self, plan: Plan, session: Session) -> Deletion:
        """Delete the file, whether it has its name or an earlier claim moved it."""
        if plan.left is not None:
            return self._carry_out_left(plan, session)
        record, root = plan.record, plan.root
        private = session.private(root)
        entry = session.entry_name(record.path)
        if (objection := move_and_compare(plan, private, entry, session)) is not None:
            if objection.outcome is not _REPLACED:
                return objection
            plan.close()
            return resume(record, root, session) or objection
        freed = _remove(plan, private, entry, session)
        return plan.expected._replace(freed_bytes=freed) if _DIRECTORY in record.flags else plan.expected

    def _carry_out_left(self, plan: Plan, session: Session) -> Deletion:
        if (resumed := resume(plan.record, plan.root, session)) is not None:
            return resumed
        # perhaps it was just now given its name back
        again = self.plan_by_name(plan.record, plan.root, session)
        if isinstance(again, Deletion):
            return again
        try:
            return self.carry_out(again, session)
        finally:
            again.close()


def plan_of_left(way: Way, record: FileRecord, root: Root, left: Entry, session: Session) -> Plan:
    """To remove *left* of the private directory, which is the file of *record*."""
    private = root.private.peek()
    freed = session.reader.stat(private, left.name).freed_bytes
    return Plan(way, record, root, private, left.name, Deletion(record, _DELETED, _GUARDED, freed), left=left)


def move_and_compare(plan: Plan, private: int, entry: str, session: Session) -> Deletion | None:
    """
    Move the file of *plan* into the directory *private* as *entry*. Returns None if it is the registered object.

    Anything else has its name back when this returns.
    """
    record, fd, name, exclusive = plan.record, plan.fd, plan.name, plan.exclusive
    identity = Identity(record.identity)
    pinned = _pin(fd, name) if identity.is_weak else -1
    try:
        if pinned >= 0 and not identity.matches(session.reader.fstat(pinned)):
            return Deletion(record, _REPLACED, _GUARDED)
        os.rename(name, entry, src_dir_fd=fd, dst_dir_fd=private)
        faults.reach("guarded.moved")
        if pinned >= 0:
            same = session.reader.stat(private, entry).ino == os.fstat(pinned).st_ino
        else:
            same = _is_object(identity, plan.root, private, entry, session)
    finally:
        if pinned >= 0:
            os.close(pinned)
    if not same:
        put_back(private, entry, fd, name, session, directory=is_directory(private, entry))
        return Deletion(record, _REPLACED, _GUARDED, reason="raced")
    faults.reach("guarded.compared")
    if exclusive >= 0 and session.use is Use.FREE and not in_use.still_free(exclusive):
        put_back(private, entry, fd, name, session, directory=False)
        session.use = Use.OPEN
        return Deletion(record, Outcome.BUSY, _GUARDED, reason=Use.OPEN.value)
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
    return _is_object(Identity(record.identity), root, private, entry, session)


def _is_object(identity: Identity, root: Root, private: int, entry: str, session: Session) -> bool:
    handles = identity.handles if root.handles else []
    if handles:
        return session.reader.handle(private, entry) in handles
    found = session.reader.stat(private, entry)
    if not identity.matches(found, moved=True):
        return False
    if not identity.can_be_told(found, handles=False):
        raise OSError(errno.EOPNOTSUPP, "the identity cannot be told")
    return True


def _remove(plan: Plan, private: int, entry: str, session: Session) -> int:
    """
    Remove what was proven to be the registered object.

    What cannot be removed gets its name back, so that a person finds it there. Out of time, it stays where it
    is and the next claim goes on with it.
    """
    record = plan.record
    directory = _DIRECTORY in record.flags
    try:
        freed = remove(private, entry, session, directory=directory, exclusive=plan.exclusive)
    except FileNotFoundError:
        return 0  # an earlier claimer, not dead but slow, removed it
    except Stopped:
        # The next claim of the record goes on; but the record may go to another file of that name before. Then the note
        # tells whose this is. What recovery puts back is no longer what a weak identity says, so there none is kept.
        session.left_behind = session.left_behind or not Identity(record.identity).is_weak
        raise
    except OSError:
        put_back(private, entry, plan.fd, plan.name, session, directory=directory)
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


def resume(record: FileRecord, root: Root, session: Session) -> Deletion | None:
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
    freed = session.reader.stat(private, left.name).freed_bytes
    directory = _DIRECTORY in record.flags
    freed_inside = remove(private, left.name, session, directory=directory)
    if left.aside:
        os.unlink(left.from_name, dir_fd=private)
    return Deletion(record, _DELETED, _GUARDED, freed_inside if directory else freed)


def _give_back(record: FileRecord, root: Root, private: int, left: Entry, session: Session) -> None:
    fd = session.parent(root, record.path)
    name = record.path[record.path.rindex("/") + 1 :]
    put_back(private, left.name, fd, name, session, directory=is_directory(private, left.name))


def is_directory(private: int, entry: str) -> bool:
    return stat.S_ISDIR(os.stat(entry, dir_fd=private, follow_symlinks=False).st_mode)
