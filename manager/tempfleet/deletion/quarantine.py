"""
The grace period (``TEMP_FILE_QUARANTINE``): deleted files wait in the private directory, and can be brought back.

``set_aside`` is the guarded way with another end: the file stays in the private directory under a name of its
own, and its record moves with it, in the registry, to that new path. There it is due when the grace period
ends, and deleting that record is what frees the disk. A symlink beside the file, which nobody
follows, says where it was, so that ``restore`` needs the disk alone, also when Redis was lost.

Each user has a private directory of his own, and a volume's owner and root may both clean it. What another one of
them set aside is deleted as any file of a caller's is: moved into our own directory and compared there.

A crash leaves either nothing changed, or the file set aside while its record is still the old one. The next
claim of that record finds it by its digest and reports it as set aside once more. Where Redis lost the record, the
clean-up registers what it finds in the base directory anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from ..filesystem import ASIDE, Entry, Identity, Root, is_private_name
from ..records import NO_IDENTITY, Deletion, FileRecord, Flag, NewFile, Outcome
from ..records import Way as Word
from . import checks, direct, guarded
from . import failpoints as faults
from .direct import Direct
from .guarded import Guarded
from .plan import Plan
from .restore import forget_origin
from .session import Session
from .unlink import remove

_DIRECT, _GUARDED = Direct(), Guarded()
_DIRECTORY = Flag.DIRECTORY.value
_DELETED, _DIRECT_WAY = Outcome.DELETED, Word.DIRECT

FULL = "quarantine-full"
QUARANTINE = "quarantine"
"""The reason of a file that would be set aside, where nothing is changed."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """
    A file that was set aside: *new* is to take the place of *record* in the registry, in one move.

    *new* has the identity, owner and tags of *record*, its flags and Flag.QUARANTINED, and the path of the file now.
    Its time to live is the quarantine's.
    """

    record: FileRecord
    new: NewFile


class Quarantine:
    """
    The way of files that are kept for a while: moved into the private directory, and not unlinked.

    Beyond ``TEMP_FILE_QUARANTINE_MAX_BYTES`` a file is deleted at once, with the reason "quarantine-full".
    """

    def plan(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        plan_of = self._plan_created if direct.is_named_by_us(record) else self._plan_named
        plan = plan_of(record, root, session)
        if isinstance(plan, Deletion) or plan.left is not None:
            return plan
        try:
            if _DIRECTORY in record.flags:
                plan.size_bytes = checks.inspect_tree(plan.fd, plan.name, session)[1]
            # asked last: what stays takes no room
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
        if (left := direct.left_in_quarantine(record, session)) is not None:
            return self._plan_of_left(record, session.roots.base, left)
        return _DIRECT.plan(record, root, session)

    def _plan_named(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        plan = _GUARDED.plan_by_name(record, root, session)
        if not isinstance(plan, Deletion) or plan.outcome not in (Outcome.MISSING, Outcome.REPLACED):
            return plan
        if (left := left_in_quarantine(record, root, session)) is not None:
            return self._plan_of_left(record, root, left)
        return _GUARDED.plan(record, root, session)  # perhaps half done by an earlier claim

    def _plan_of_left(self, record: FileRecord, root: Root, left: Entry) -> Plan:
        """Of what a claimer moved into quarantine before it died: only the registry is to be told."""
        expected = Deletion(record, Outcome.DELETED, Word.GUARDED, reason=QUARANTINE)
        return Plan(self, record, root, root.private.peek(), left.name, expected, left=left)

    def carry_out(self, plan: Plan, session: Session) -> Quarantined | Deletion:
        """Move the file into quarantine; a ``Deletion`` if it turns out to be another file."""
        record, root = plan.record, plan.root
        if plan.left is not None:
            return _reported(record, root, plan.left.name, plan.left.size_bytes, session)
        entry = f"{session.entry_name(record.path)}.{plan.size_bytes:x}.{ASIDE}"
        if (objection := _move(plan, entry, session)) is None:
            return _reported(record, root, entry, plan.size_bytes, session)
        if objection.outcome is not Outcome.REPLACED:
            return objection
        plan.close()
        if (left := left_in_quarantine(record, root, session)) is not None:
            return _reported(record, root, left.name, left.size_bytes, session)
        return guarded.resume(record, root, session) or objection


class Purge:
    """The way of files in quarantine: *record* has the path that ``Quarantine`` gave the file."""

    def plan(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        if _is_anothers(record, root):
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
        except FileNotFoundError:  # restored, or purged by another, at this moment
            return Deletion(plan.record, Outcome.MISSING, Word.GUARDED)
        forget_origin(plan.fd, Entry(plan.name, "", 0))
        return plan.expected._replace(freed_bytes=freed) if directory else plan.expected


def left_in_quarantine(record: FileRecord, root: Root, session: Session) -> Entry | None:
    """What a claimer of *record* set aside and did not live to tell the registry."""
    for left in session.entries_of(root, record.path):
        if left.aside and guarded.is_same(record, root, root.private.peek(), left.name, session):
            return left
    return None


def _move(plan: Plan, entry: str, session: Session) -> Deletion | None:
    """Move the file of *plan* into quarantine as *entry*, with the note of its origin beside it."""
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


def _reported(record: FileRecord, root: Root, entry: str, size: int, session: Session) -> Quarantined:
    """A file that is in quarantine as *entry*; a created one gets its identity only now, out of reach of others."""
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
    found = session.reader.stat(private, entry)
    identity = Identity.of(session.reader, private, entry, found, handles=root.handles)
    return replace(record, identity=identity, flags=record.flags.replace(Flag.CREATED, ""))


def _is_anothers(record: FileRecord, root: Root) -> bool:
    """Whether *record* is of a file that another user set aside, in the private directory that is his."""
    at = record.path.rpartition("/")[0]
    private = at.removeprefix(root.prefix)
    if not record.is_quarantined or "/" in private or not is_private_name(private):
        return False
    root.private.peek()
    return at != root.private.path


def _name_in(record: FileRecord, root: Root) -> str:
    """The name in the private directory, if *record* is of a file set aside there; else ""."""
    at, _, name = record.path.rpartition("/")
    entry = Entry.parse(name)
    return name if at == root.private.path and entry is not None and entry.aside else ""
