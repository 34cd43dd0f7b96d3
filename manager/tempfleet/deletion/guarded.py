"""
The guarded way, for every name that a caller chose: move the file, compare it, unlink it.

Between a check and an unlink by name, any process that may write to the directory can put another file there. With
descriptors, that race was still lost in 28 % of the tries under attack. So the entry is first renamed into the private
directory, where only this user and root can reach it. *The entry that arrived* is compared with the record. If it is
another object, or if that cannot be told, it is moved back to its old name, and never over another file. The checks
before the rename only save other files the trip.

    check     parent beneath the root, no symlink, no mount; kind, inode, birth time and owner as recorded
    in use?   the kernel's write lock, if it is taken here, is kept to the end
    move      rename into the private directory as <digest of the path>.<token>
    compare   there: file handle, or inode and birth time
    in use?   whether another process has begun to open the file since the write lock was taken
    inside?   for a directory: whether everything in it may go, see ``inside``
    begin     only for a directory, or before overwriting: the record gets the flag "begun", and the entry that name
    unlink    there

``plan`` makes the first two steps, ``carry_out`` the others. Until the last two steps, any error gives the file its
name back.

After a crash the file has its own name, or lies under that digest. The next claim of the record finds it there,
compares it again, and deletes it or gives it its name back. What has begun is not given back: a part of it may be gone.
"""

from __future__ import annotations

from ..filesystem import Entry, EntryState, Root, Use
from ..records import Deletion, FileRecord, Flag, Outcome
from ..records import Way as Word
from . import checks, companion, in_place, inside
from . import failpoints as faults
from .comparison import OTHER, SAME, UNKNOWN, Answer, compare
from .moving import begin, destroy, is_there, move_and_compare, put_back, take_back, takes_long, unknown
from .plan import Plan, Way
from .session import Session
from .unlink import remove

# Looked up once: reaching an enum's member costs more than building a tuple, and each file needs several.
_DELETED, _MISSING, _REPLACED = Outcome.DELETED, Outcome.MISSING, Outcome.REPLACED
_GUARDED = Word.GUARDED
_BEGUN = Flag.BEGUN.value
_DIRECTORY = Flag.DIRECTORY.value
_UNVERIFIED = Flag.UNVERIFIED.value


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
            if session.token:  # not in a dry run
                in_place.give_back(record, root, session)
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
        record = checks.with_present_inode(record, root, fd, name, status, session)
        if (objection := checks.objection(record, root, status, session)) is not None:
            return objection
        faults.reach("guarded.found")
        if session.asks_in_use or _DIRECTORY in record.flags:
            objection = checks.ask_in_use(record, fd, name, session, _GUARDED)
            if objection is not None:
                return objection
        expected = Deletion(record, _DELETED, _GUARDED, status.freed_bytes)
        return Plan(self, record, root, fd, name, expected, status.size)

    def plan_left(self, record: FileRecord, root: Root, by_name: Deletion, session: Session) -> Plan | None:
        """
        Plan for what earlier claims left in the private directory; None if they left nothing.

        If none of it is the registered object, *by_name* stays the outcome. Carrying out the plan then gives those
        files their names back.
        """
        moved, expected = None, by_name
        private = root.private.peek()
        for entry in session.entries_of(root, record.path):
            try:
                answer = _answer(record, root, private, entry, session)
                if answer is SAME:
                    return plan_of_left(self, record, root, entry, session)
            except FileNotFoundError:
                continue  # another claimer, or a recovery scan, was faster
            if entry.state is EntryState.MOVED:
                moved, expected = entry, by_name if answer is OTHER else unknown(record)
        return None if moved is None else Plan(self, record, root, private, moved.name, expected, left=moved)

    def carry_out(self, plan: Plan, session: Session) -> Deletion:
        """Delete the file, under its name or where an earlier claim moved it."""
        if plan.left is not None:
            return self._carry_out_left(plan, session)
        record, root = plan.record, plan.root
        try:
            private = session.private(root)
        except OSError as exc:
            return in_place.carry_out(plan, session, exc)
        entry = session.entry_name(record.path)
        if (objection := move_and_compare(plan, private, entry, session)) is not None:
            if objection.outcome is not _REPLACED:
                return objection
            session.release()
            return resume(record, root, session) or objection
        if takes_long(record, session):
            try:
                entry = begin(plan, private, entry, session)
            except BaseException:
                # Otherwise it has the name of a begun entry already, and its journal stays.
                if is_there(private, entry):
                    take_back(plan, private, entry, session)
                raise
        freed = destroy(plan, private, entry, session)
        return plan.expected._replace(freed_bytes=freed) if _DIRECTORY in record.flags else plan.expected

    def _carry_out_left(self, plan: Plan, session: Session) -> Deletion:
        if (resumed := resume(plan.record, plan.root, session)) is not None:
            return resumed
        # another process may have given it its name back just now
        again = self.plan_by_name(plan.record, plan.root, session)
        if isinstance(again, Deletion):
            return again
        return self.carry_out(again, session)


def plan_of_left(way: Way, record: FileRecord, root: Root, left: Entry, session: Session) -> Plan:
    """A plan to remove *left* of the private directory, which is the file of *record*."""
    private = root.private.peek()
    expected = Deletion(record, _DELETED, _GUARDED, session.reader.stat(private, left.name).freed_bytes)
    if _asks(record, left):
        expected = inside.objection(record, private, left.name, session, _GUARDED) or expected
    return Plan(way, record, root, private, left.name, expected, left=left)


def resume(record: FileRecord, root: Root, session: Session) -> Deletion | None:
    """Finish what a dead claimer of this record began. Returns None if it left nothing of the file."""
    for left in session.entries_of(root, record.path):
        private = session.private(root)
        try:
            if _answer(record, root, private, left, session) is SAME:
                return finish(record, root, left, session)
            if left.state is EntryState.MOVED:
                fd = session.parent(root, record.path)
                put_back(private, left.name, fd, record.path[record.path.rindex("/") + 1 :], session)
        except FileNotFoundError:
            continue  # another claimer, or a recovery scan, was faster; or its directory is gone
    return None


def _answer(record: FileRecord, root: Root, private: int, left: Entry, session: Session) -> Answer:
    """Whether *left* is the file of *record*. What was begun was proven, if the record shows that it was begun."""
    answer = compare(record, root, private, left.name, session.reader)
    begun = left.state is EntryState.BEGUN and _BEGUN in record.flags
    return SAME if answer is UNKNOWN and begun else answer


def finish(record: FileRecord, root: Root, left: Entry, session: Session) -> Deletion:
    """Remove *left* of the private directory, which was proven to be the file of *record*."""
    session.use = Use.NOT_ASKED
    private, name = session.private(root), left.name
    freed = session.reader.stat(private, name).freed_bytes
    directory = _DIRECTORY in record.flags
    if (objection := ask_left(record, root, left, session)) is not None:
        return objection
    if takes_long(record, session) and left.state is not EntryState.BEGUN:
        plan = Plan(Guarded(), record, root, private, name, Deletion(record, _DELETED, _GUARDED), left=left)
        name = begin(plan, private, name, session, begun=left.begun_name)
    try:
        freed_inside = remove(private, name, session, directory=directory)
    except FileNotFoundError:
        raise
    except OSError:
        _return_rest(record, root, private, name, session)
        raise
    companion.forget(private, left)
    return Deletion(record, _DELETED, _GUARDED, freed_inside if directory else freed)


def _return_rest(record: FileRecord, root: Root, private: int, name: str, session: Session) -> None:
    """Give what cannot be destroyed its name back, so that a person finds it there; unless it was in quarantine."""
    if record.is_quarantined:
        return
    try:
        fd = session.parent(root, record.path)
    except OSError:
        return  # its directory is gone; it is reported as stranded
    put_back(private, name, fd, record.path[record.path.rindex("/") + 1 :], session)


def _asks(record: FileRecord, left: Entry) -> bool:
    """Whether *left* is a directory whose destruction has not begun."""
    return _DIRECTORY in record.flags and left.state is not EntryState.BEGUN


def ask_left(record: FileRecord, root: Root, left: Entry, session: Session) -> Deletion | None:
    """
    Why a directory that a dead claimer moved to *left* has to stay. Then it has its name back, unless another file has
    the name, or its record is that of the quarantine.
    """
    if not _asks(record, left):
        return None
    private, name = session.private(root), record.path[record.path.rindex("/") + 1 :]
    try:
        fd = session.parent(root, record.path)
        has_name = not record.is_quarantined and not is_there(fd, name)
    except (FileNotFoundError, NotADirectoryError):
        fd, has_name = -1, False
    # If another directory has the name, the registered paths are those of the files in that one.
    claim = has_name or fd < 0
    objection = inside.objection(record, private, left.name, session, _GUARDED, claim=claim)
    if objection is not None and has_name:
        put_back(private, left.name, fd, name, session)
        companion.forget(private, left)
    return objection
