"""
The quarantine (``TEMP_FILE_QUARANTINE``): deleted files wait in the private directory, and can be restored.

``Quarantine`` is the guarded way with another end. The file stays in the private directory under a name of its own,
and its record moves to that new path in the registry. It expires there when its time in quarantine ends, and deleting
it frees the disk (``Purge``). A companion beside the file contains its old path and the end of its quarantine. So
``restore`` needs only the disk, also if Redis lost its data.

Each user has a private directory, and both the owner of a volume and root may clean it. Files quarantined by another
user are deleted by the guarded way, like any file a caller named: moved into our own directory and compared there.

The file gets its name in quarantine after it was compared. So what has such a name is ours. After a crash, either
nothing has changed, or the file is in quarantine while its record is still the old one. The next claim of that record
finds the file by its digest and reports it again. If Redis lost the record, the clean-up registers the file again, with
the end that its companion contains.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace

from ..filesystem import ASIDE, Entry, EntryState, Identity, Root, is_private_name
from ..records import NO_IDENTITY, Deletion, FileRecord, Flag, NewFile, Outcome
from ..records import Way as Word
from . import checks, companion, direct, guarded, moving
from . import failpoints as faults
from .comparison import SAME, compare
from .direct import Direct
from .guarded import Guarded
from .plan import Plan, Quarantined
from .session import Session

_DIRECT, _GUARDED = Direct(), Guarded()
_DIRECTORY = Flag.DIRECTORY.value
_DELETED, _DIRECT_WAY = Outcome.DELETED, Word.DIRECT

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""What has to be deleted to make room needs no room first."""

FULL = "quarantine-full"
QUARANTINE = "quarantine"
"""The reason of a file that would be quarantined, in a dry run."""


class Quarantine:
    """
    The way that moves a file into quarantine instead of unlinking it.

    A file beyond ``TEMP_FILE_QUARANTINE_MAX_BYTES``, or for whose companion the disk has no room, is deleted at once,
    with the reason "quarantine-full".
    """

    def plan(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        plan_of = self._plan_created if direct.is_named_by_us(record) else self._plan_named
        plan = plan_of(record, root, session)
        if isinstance(plan, Deletion) or plan.left is not None:
            return plan
        if _DIRECTORY in record.flags:
            plan.size_bytes = checks.inspect_tree(plan.fd, plan.name, session)[1]
        # last, because a file that is not moved takes no room
        if not session.fits_quarantine(plan.root, plan.size_bytes):  # its own way carries it out
            plan.expected = plan.expected._replace(reason=FULL)
            return plan
        plan.way = self
        plan.expected = Deletion(plan.record, _DELETED, plan.expected.way, 0, QUARANTINE)
        return plan

    def _plan_created(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        plan = _DIRECT.plan(record, root, session)
        if isinstance(plan, Deletion) or plan.left is None or plan.left.state is not EntryState.ASIDE:
            return plan
        return self._plan_of_left(record, root, plan.left)

    def _plan_named(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        plan = _GUARDED.plan_by_name(record, root, session)
        if not isinstance(plan, Deletion) or plan.outcome not in (Outcome.MISSING, Outcome.REPLACED):
            return plan
        if (left := left_in_quarantine(record, root, session)) is not None:
            return self._plan_of_left(record, root, left)
        return _GUARDED.plan(record, root, session)  # an earlier claim may have done half of it

    def _plan_of_left(self, record: FileRecord, root: Root, left: Entry) -> Plan:
        """A plan for a file that a dead claimer moved into quarantine: it is only reported to the registry."""
        expected = Deletion(record, Outcome.DELETED, Word.GUARDED, reason=QUARANTINE)
        return Plan(self, record, root, root.private.peek(), left.name, expected, left=left)

    def carry_out(self, plan: Plan, session: Session) -> Quarantined | Deletion:
        """Move the file into quarantine; a ``Deletion`` if it turns out to be another file."""
        record, root = plan.record, plan.root
        if plan.left is not None:
            return _report_left(record, root, plan.left, session)
        moved = session.entry_name(record.path)
        aside = Entry.parse(f"{moved}.{plan.size_bytes:x}.{ASIDE}")
        assert aside is not None
        try:
            objection = _move(plan, moved, aside, session)
        except companion.Full:  # other cleaners took the room since it was planned
            return _delete_at_once(plan, session)
        except OSError as exc:  # the file has its name again
            if exc.errno in _NO_SPACE:
                return _delete_at_once(plan, session)
            raise
        if objection is None:
            return _quarantined(record, root, aside, session)
        if objection.outcome is not Outcome.REPLACED:
            return objection
        session.release()
        if (left := left_in_quarantine(record, root, session)) is not None:
            return _report_left(record, root, left, session)
        return guarded.resume(record, root, session) or objection


def _delete_at_once(plan: Plan, session: Session) -> Deletion:
    way: Direct | Guarded = _DIRECT if plan.expected.way is _DIRECT_WAY else _GUARDED
    freed = 0 if plan.record.is_directory else session.reader.stat(plan.fd, plan.name).freed_bytes
    plan.expected = plan.expected._replace(freed_bytes=freed, reason=FULL)
    return way.carry_out(plan, session)


class Purge:
    """The way for quarantined files. The record has the path that ``Quarantine`` gave the file."""

    def plan(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        if _is_of_another_user(record, root):
            return _GUARDED.plan(record, root, session)
        private, entry = root.private.peek(), _entry_in(record, root)
        if private < 0 or entry is None:
            return Deletion(record, Outcome.REFUSED, reason="private")
        for left in (
            entry,
            Entry(entry.begun_name, entry.digest, entry.token, entry.size_bytes, EntryState.BEGUN),
        ):
            try:
                if compare(record, root, private, left.name, session.reader) is not SAME:
                    return Deletion(record, Outcome.REPLACED, Word.GUARDED)
                return guarded.plan_of_left(self, record, root, left, session)
            except FileNotFoundError:
                continue
        return Deletion(record, Outcome.MISSING, Word.GUARDED)

    def carry_out(self, plan: Plan, session: Session) -> Deletion:
        assert plan.left is not None
        try:
            return guarded.finish(plan.record, plan.root, plan.left, session)
        except FileNotFoundError:  # another process restored or purged it just now
            return Deletion(plan.record, Outcome.MISSING, Word.GUARDED)


def left_in_quarantine(record: FileRecord, root: Root, session: Session) -> Entry | None:
    """The entry that a dead claimer of *record* moved into quarantine and did not report."""
    private = root.private.peek()
    for left in session.entries_of(root, record.path):
        if (
            left.state is EntryState.ASIDE
            and compare(record, root, private, left.name, session.reader) is SAME
        ):
            return left
    return None


def _move(plan: Plan, moved: str, aside: Entry, session: Session) -> Deletion | None:
    """
    Move the file of *plan* into quarantine as *aside*, with its companion beside it. Any other file has its name back
    when this returns, and the file itself if it raises an exception.
    """
    record, private = plan.record, session.private(plan.root)
    # By the Redis clock, because a token is the time of its claim in us, or more.
    end_ms = session.token // 1000 + int(session.settings.quarantine_seconds * 1000)
    limit, owner = session.settings.quarantine_max_bytes, session.promises.owner()
    companion.write(plan.root, private, aside, owner, replace(record, deadline_ms=end_ms), limit)
    try:
        faults.reach("set-aside.noted")
        # A plan of the direct way for a file: nobody else can have put another file under the name.
        if plan.expected.way is _DIRECT_WAY and _DIRECTORY not in record.flags:
            session.go_on()
            os.rename(plan.name, aside.name, src_dir_fd=plan.fd, dst_dir_fd=private)
            objection = None
        else:
            objection = moving.move_and_compare(plan, private, moved, session)
            if objection is None:
                moving.rename_moved(plan, private, moved, aside.name, session)
    except BaseException:
        if not moving.is_there(private, aside.name):
            companion.forget(private, aside)
        raise
    if objection is not None:
        companion.forget(private, aside)
    faults.reach("set-aside.moved")
    return objection


def _report_left(record: FileRecord, root: Root, left: Entry, session: Session) -> Quarantined | Deletion:
    """The result for what a dead claimer moved into quarantine, unless a directory has to stay."""
    return guarded.ask_left(record, root, left, session) or _quarantined(record, root, left, session)


def _quarantined(record: FileRecord, root: Root, aside: Entry, session: Session) -> Quarantined:
    """The result for a file in quarantine as *aside*. A created file gets its identity here, out of reach of others."""
    kept = with_identity(record, root, aside.name, session) if record.identity == NO_IDENTITY else record
    return Quarantined(
        record,
        NewFile(
            path=f"{root.private.path}/{aside.name}",
            ttl_ms=int(session.settings.quarantine_seconds * 1000),
            size_bytes=aside.size_bytes,
            identity=kept.identity,
            flags=kept.flags + Flag.QUARANTINED,
            uid=kept.uid,
            tags=kept.tags,
        ),
    )


def with_identity(record: FileRecord, root: Root, entry: str, session: Session) -> FileRecord:
    private = root.private.open()
    stat = session.reader.stat(private, entry)
    identity = Identity.of(session.reader, private, entry, stat, handles=root.handles)
    return replace(record, identity=identity, flags=record.flags.replace(Flag.CREATED, ""))


def _is_of_another_user(record: FileRecord, root: Root) -> bool:
    """Whether another user quarantined the file of *record*, in that user's private directory."""
    at = record.path.rpartition("/")[0]
    private = at.removeprefix(root.prefix)
    if not record.is_quarantined or "/" in private or not is_private_name(private):
        return False
    root.private.peek()
    return at != root.private.path


def _entry_in(record: FileRecord, root: Root) -> Entry | None:
    """The entry of a quarantined file in our private directory; None if the path of *record* is not one."""
    at, _, name = record.path.rpartition("/")
    entry = Entry.parse(name)
    return (
        entry if at == root.private.path and entry is not None and entry.state is EntryState.ASIDE else None
    )
