"""
The guarded way, for every name that a caller chose: move the file, compare it, unlink it.

Between a check and an unlink by name, any process that may write to the directory can put another file there. With
descriptors, that race was still lost in 28 % of the tries under attack. So the entry is first renamed into the private
directory, where only this user and root can reach it. *The entry that arrived* is compared with the record. If it is
another object, it is moved back to its old name, and never over another file. The checks before the rename only save
other files the trip.

    check     parent beneath the root, no symlink, no mount; kind, inode, birth time and owner as recorded
    in use?   the kernel's write lock, if it is taken here, is kept to the end
    move      rename into the private directory as <digest of the path>.<token>
    compare   there: file handle, or inode and birth time
    in use?   whether another process has begun to open the file since the write lock was taken
    unlink    there

``plan`` makes the first two steps, ``carry_out`` the others.

After a crash the file has its own name, or lies under that digest. The next claim of the record finds it there,
compares it again, and deletes it or gives it its name back.
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

# Looked up once: reaching an enum's member costs more than building a tuple, and each file needs several.
_DELETED, _MISSING, _REPLACED = Outcome.DELETED, Outcome.MISSING, Outcome.REPLACED
_GUARDED = Word.GUARDED
_DIRECTORY = Flag.DIRECTORY.value
_UNVERIFIED = Flag.UNVERIFIED.value
_LONGEST_BESIDE = 255 - 17
"""Bytes of a name. They leave room for a dot and 16 random digits, if the name itself is taken."""


class NotPutBack(Exception):
    """A file could not be given its name back. It is safe in the private directory, and the journal has it."""


class Guarded:
    """The way for names that a caller chose."""

    def plan(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        """Plan for the file under its name, or for what an earlier claim left of it in the private directory."""
        plan = self.plan_by_name(record, root, session)
        if not isinstance(plan, Deletion) or plan.outcome not in (_MISSING, _REPLACED):
            return plan
        if (left := self.plan_left(record, root, plan, session)) is not None:
            return left
        if plan.outcome is _MISSING:  # another process may have given it its name back just now
            return self.plan_by_name(record, root, session)
        return plan

    def plan_by_name(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        """Plan for the file under its name only."""
        try:
            fd = session.parent(root, record.path)
            name = record.path[record.path.rindex("/") + 1 :]
            status = session.reader.stat(fd, name)
        except (FileNotFoundError, NotADirectoryError) as exc:
            return checks.not_found(record, exc)
        if _UNVERIFIED in record.flags:
            verified = checks.verify(record, root, fd, name, status, session)
            if isinstance(verified, Deletion):
                return verified
            record = verified
        if (objection := checks.objection(record, root, status, session)) is not None:
            return objection
        faults.reach("guarded.found")
        exclusive = -1
        if session.asks_in_use or _DIRECTORY in record.flags:
            objection, exclusive = checks.ask_in_use(record, fd, name, session, _GUARDED)
            if objection is not None:
                return objection
        expected = Deletion(record, _DELETED, _GUARDED, status.freed_bytes)
        return Plan(self, record, root, fd, name, expected, exclusive, status.size)

    def plan_left(self, record: FileRecord, root: Root, by_name: Deletion, session: Session) -> Plan | None:
        """
        Plan for what earlier claims left in the private directory; None if they left nothing.

        If none of it is the registered object, *by_name* stays the outcome. Carrying out the plan then gives those
        files their names back.
        """
        left = session.entries_of(root, record.path)
        private = root.private.peek()
        for entry in left:
            try:
                if is_same(record, root, private, entry.name, session):
                    return plan_of_left(self, record, root, entry, session)
            except FileNotFoundError:
                continue  # another claimer, or a recovery scan, was faster
        if not left:
            return None
        return Plan(self, record, root, private, left[0].name, by_name, left=left[0])

    def carry_out(self, plan: Plan, session: Session) -> Deletion:
        """Delete the file, under its name or where an earlier claim moved it."""
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
        # another process may have given it its name back just now
        again = self.plan_by_name(plan.record, plan.root, session)
        if isinstance(again, Deletion):
            return again
        try:
            return self.carry_out(again, session)
        finally:
            again.close()


def plan_of_left(way: Way, record: FileRecord, root: Root, left: Entry, session: Session) -> Plan:
    """A plan to remove *left* of the private directory, which is the file of *record*."""
    private = root.private.peek()
    freed = session.reader.stat(private, left.name).freed_bytes
    return Plan(way, record, root, private, left.name, Deletion(record, _DELETED, _GUARDED, freed), left=left)


def move_and_compare(plan: Plan, private: int, entry: str, session: Session) -> Deletion | None:
    """
    Move the file of *plan* into the directory *private* as *entry*. Returns None if it is the registered object.

    Any other file has its name back when this returns.
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
    Hold the file open, so that its inode number cannot go to another file. A weak identity needs that, because a
    rename changes it.
    """
    return os.open(name, O_PATH | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)


def is_same(record: FileRecord, root: Root, private: int, entry: str, session: Session) -> bool:
    """
    Whether *entry* of the directory *private* is the registered object.

    Raises:
        OSError: EOPNOTSUPP if this process cannot tell.
    """
    return _is_object(Identity(record.identity), root, private, entry, session)


def _is_object(identity: Identity, root: Root, private: int, entry: str, session: Session) -> bool:
    handles = identity.handles if root.handles else []
    if handles:
        return session.reader.handle(private, entry) in handles
    status = session.reader.stat(private, entry)
    if not identity.matches(status, moved=True):
        return False
    if not identity.can_decide(status, handles=False):
        raise OSError(errno.EOPNOTSUPP, "the identity cannot be compared")
    return True


def _remove(plan: Plan, private: int, entry: str, session: Session) -> int:
    """
    Remove what was proven to be the registered object.

    If it cannot be removed, it gets its name back, so that a person finds it there. If the time runs out, it stays
    where it is, and the next claim goes on with it.
    """
    record = plan.record
    directory = _DIRECTORY in record.flags
    try:
        freed = remove(private, entry, session, directory=directory, exclusive=plan.exclusive)
    except FileNotFoundError:
        return 0  # an earlier claimer, slow but alive, removed it
    except Stopped:
        # The next claim of the record goes on. Before that, the record may be replaced by one of another file of that
        # name; then the journal shows whose file this is. A weak identity does not match any more after recovery has
        # put the file back, so for a weak identity no journal is kept.
        session.left_behind = session.left_behind or not Identity(record.identity).is_weak
        raise
    except OSError:
        put_back(private, entry, plan.fd, plan.name, session, directory=directory)
        raise
    faults.reach("guarded.unlinked")
    return freed


def put_back(private: int, entry: str, fd: int, name: str, session: Session, *, directory: bool) -> None:
    """
    Give a file its name back, never over another file. If the name is taken, it gets a new name beside it.

    Raises:
        NotPutBack: the file has to stay in the private directory.
    """
    new_name = name
    while True:
        try:
            session.roots.system.rename_noreplace(private, entry, fd, new_name, directory=directory)
            break
        except OSError as exc:
            if exc.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR):
                new_name = f"{os.fsdecode(os.fsencode(name)[:_LONGEST_BESIDE])}.{os.urandom(8).hex()}"
            else:
                session.left_behind = True
                logger.error("%s could not be put back (%s); it is kept as %s", printable(name), exc, entry)
                raise NotPutBack from exc
    faults.reach("guarded.put-back")
    if new_name != name:
        logger.warning(
            "%s was taken; the file that was moved from it is now %s", printable(name), printable(new_name)
        )


def resume(record: FileRecord, root: Root, session: Session) -> Deletion | None:
    """Finish what a dead claimer of this record began. Returns None if it left nothing of the file."""
    for left in session.entries_of(root, record.path):
        private = session.private(root)
        try:
            if is_same(record, root, private, left.name, session):
                return finish(record, private, left, session)
            if not left.aside:  # a quarantined file has a record of its own
                _give_back(record, root, private, left, session)
        except FileNotFoundError:
            continue  # another claimer, or a recovery scan, was faster
    return None


def finish(record: FileRecord, private: int, left: Entry, session: Session) -> Deletion:
    """Remove *left* of the private directory, which was proven to be the file of *record*."""
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
