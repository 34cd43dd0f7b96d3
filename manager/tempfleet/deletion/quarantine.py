"""
The quarantine (``TEMP_FILE_QUARANTINE``): deleted files wait in the private directory, and can be restored.

``Quarantine`` is the guarded way with another end. The file stays in the private directory under a name of its own,
and its record moves to that new path in the registry. It expires there when its time in quarantine ends, and deleting
it frees the disk (``Purge``). A symlink beside the file contains its old path; nobody follows it. So ``restore`` needs
only the disk, also if Redis lost its data.

Each user has a private directory, and both the owner of a volume and root may clean it. Files quarantined by another
user are deleted by the guarded way, like any file a caller named: moved into our own directory and compared there.

After a crash, either nothing has changed, or the file is in quarantine while its record is still the old one. The next
claim of that record finds the file by its digest and reports it again. If Redis lost the record, the clean-up registers
the files that it finds in quarantine below the base directory.
"""

from __future__ import annotations

import os
from dataclasses import replace

from ..filesystem import ASIDE, Entry, Identity, Root, is_private_name
from ..records import NO_IDENTITY, Deletion, FileRecord, Flag, NewFile, Outcome
from ..records import Way as Word
from . import checks, direct, guarded
from . import failpoints as faults
from .direct import Direct
from .guarded import Guarded
from .plan import Plan, Quarantined
from .restore import forget_origin
from .session import Session
from .unlink import remove

_DIRECT, _GUARDED = Direct(), Guarded()
_DIRECTORY = Flag.DIRECTORY.value
_DELETED, _DIRECT_WAY = Outcome.DELETED, Word.DIRECT

FULL = "quarantine-full"
QUARANTINE = "quarantine"
"""The reason of a file that would be quarantined, in a dry run."""


class Quarantine:
    """
    The way that moves a file into quarantine instead of unlinking it.

    A file beyond ``TEMP_FILE_QUARANTINE_MAX_BYTES`` is deleted at once, with the reason "quarantine-full".
    """

    def plan(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        plan_of = self._plan_created if direct.is_named_by_us(record) else self._plan_named
        plan = plan_of(record, root, session)
        if isinstance(plan, Deletion) or plan.left is not None:
            return plan
        try:
            if _DIRECTORY in record.flags:
                plan.size_bytes = checks.inspect_tree(plan.fd, plan.name, session)[1]
            # last, because a file that is not moved takes no room
            fits = session.fits_quarantine(plan.root, plan.size_bytes)
        except BaseException:
            plan.close()
            raise
        if not fits:  # its own way carries it out
            plan.expected = plan.expected._replace(reason=FULL)
            return plan
        plan.way = self
        plan.expected = Deletion(plan.record, _DELETED, plan.expected.way, 0, QUARANTINE)
        return plan

    def _plan_created(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        in_base = direct.name_in_base(record, root, session)
        if in_base and (left := direct.left_in_quarantine(record, session)) is not None:
            return self._plan_of_left(record, root, left)
        return _DIRECT.plan(record, root, session)

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
            return _quarantined(record, root, plan.left.name, plan.left.size_bytes, session)
        entry = f"{session.entry_name(record.path)}.{plan.size_bytes:x}.{ASIDE}"
        if (objection := _move(plan, entry, session)) is None:
            return _quarantined(record, root, entry, plan.size_bytes, session)
        if objection.outcome is not Outcome.REPLACED:
            return objection
        plan.close()
        if (left := left_in_quarantine(record, root, session)) is not None:
            return _quarantined(record, root, left.name, left.size_bytes, session)
        return guarded.resume(record, root, session) or objection


class Purge:
    """The way for quarantined files. The record has the path that ``Quarantine`` gave the file."""

    def plan(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        if _is_of_another_user(record, root):
            return _GUARDED.plan(record, root, session)
        private, name = root.private.peek(), _name_in(record, root)
        if private < 0 or not name:
            return Deletion(record, Outcome.REFUSED, reason="private")
        try:
            if not guarded.is_same(record, root, private, name, session):
                return Deletion(record, Outcome.REPLACED, Word.GUARDED)
            freed = session.reader.stat(private, name).freed_bytes
        except FileNotFoundError:
            return Deletion(record, Outcome.MISSING, Word.GUARDED)
        return Plan(self, record, root, private, name, Deletion(record, Outcome.DELETED, Word.GUARDED, freed))

    def carry_out(self, plan: Plan, session: Session) -> Deletion:
        directory = plan.record.is_directory
        try:
            freed = remove(plan.fd, plan.name, session, directory=directory)
        except FileNotFoundError:  # another process restored or purged it just now
            return Deletion(plan.record, Outcome.MISSING, Word.GUARDED)
        forget_origin(plan.fd, Entry(plan.name, "", 0))
        return plan.expected._replace(freed_bytes=freed) if directory else plan.expected


def left_in_quarantine(record: FileRecord, root: Root, session: Session) -> Entry | None:
    """The entry that a dead claimer of *record* moved into quarantine and did not report."""
    for left in session.entries_of(root, record.path):
        if left.aside and guarded.is_same(record, root, root.private.peek(), left.name, session):
            return left
    return None


def _move(plan: Plan, entry: str, session: Session) -> Deletion | None:
    """Move the file of *plan* into quarantine as *entry*, with the symlink that contains its path beside it."""
    private = session.private(plan.root)
    beside = Entry(entry, "", 0).from_name
    os.symlink(plan.record.path, beside, dir_fd=private)
    faults.reach("set-aside.noted")
    objection = None
    # A plan of the direct way: nobody else can have put another file under the name.
    if plan.expected.way is _DIRECT_WAY:
        os.rename(plan.name, entry, src_dir_fd=plan.fd, dst_dir_fd=private)
    else:
        objection = guarded.move_and_compare(plan, private, entry, session)
    if objection is not None:
        os.unlink(beside, dir_fd=private)
    faults.reach("set-aside.moved")
    return objection


def _quarantined(record: FileRecord, root: Root, entry: str, size: int, session: Session) -> Quarantined:
    """The result for a file in quarantine as *entry*. A created file gets its identity here, out of reach of others."""
    kept = with_identity(record, root, entry, session) if record.identity == NO_IDENTITY else record
    return Quarantined(
        record,
        NewFile(
            path=f"{root.private.path}/{entry}",
            ttl_ms=int(session.settings.quarantine_seconds * 1000),
            size_bytes=size,
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


def _name_in(record: FileRecord, root: Root) -> str:
    """The name of a quarantined file in our private directory; "" if the path of *record* is not one."""
    at, _, name = record.path.rpartition("/")
    entry = Entry.parse(name)
    return name if at == root.private.path and entry is not None and entry.aside else ""
