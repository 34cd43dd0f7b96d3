"""
The direct way: ``fstatat`` and ``unlinkat`` in the base directory, for names that ``new_name`` made.

It needs no identity. Nobody else can rename or remove a name in the base directory, and a name is never used twice.
So the file under it is the file that we put there. If others may write to the base directory too, the sticky bit keeps
them from our names, and the owner recorded at creation is compared.

If root works in another user's base directory, that user can exchange all names in it. Then only plain files of that
user are deleted here, because that user could unlink each of them. Everything else is refused. create() gives such
files, and all directories, an identity, so that they go the guarded way.

A directory is moved into the private directory before it is emptied, as in the guarded way, so that nobody can register
anything in it meanwhile.

For the same reason, an entry of the private directory that a dead claimer moved from such a name is ours, without
another check.
"""

from __future__ import annotations

import os
import stat

from ..filesystem import Entry, Root, kind_of
from ..records import NO_IDENTITY, NO_UID, Deletion, FileRecord, Flag, Outcome
from ..records import Way as Word
from . import checks, guarded, moving
from . import failpoints as faults
from .plan import Plan
from .session import Session, Stopped

_DIRECTORY = Flag.DIRECTORY.value
_CREATED = Flag.CREATED.value
# Looked up once: reaching an enum's member costs more than building a tuple, and each file needs several.
_DELETED, _DIRECT = Outcome.DELETED, Word.DIRECT


def is_named_by_us(record: FileRecord) -> bool:
    """Whether the name alone shows which file is meant: ``create()`` made it."""
    return record.identity == NO_IDENTITY and _CREATED in record.flags


def name_in_base(record: FileRecord, root: Root, session: Session) -> str:
    """The name of the file in the base directory; "" if it is elsewhere, where names are not ours alone."""
    name = record.path[len(root.prefix) :]
    return name if root is session.roots.base and "/" not in name else ""


class Direct:
    """The way for names that are ours alone."""

    def plan(self, record: FileRecord, root: Root, session: Session) -> Plan | Deletion:
        name = name_in_base(record, root, session)
        if not name:
            return Deletion(record, Outcome.REFUSED, reason="not-private")
        base = session.roots.base
        fd = base.fd
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            if (left := left_of_created(record, session)) is None:
                raise
            return guarded.plan_of_left(self, record, root, left, session)
        mode = status.st_mode
        directory = _DIRECTORY in record.flags
        if not (stat.S_ISDIR(mode) if directory else stat.S_ISREG(mode)):
            return Deletion(record, Outcome.REPLACED, _DIRECT, 0, kind_of(mode))
        if record.uid != status.st_uid and (
            not base.trusted or (session.owner_check and record.uid != NO_UID)
        ):
            return Deletion(record, Outcome.REFUSED, _DIRECT, 0, "owner")
        if base.is_foreign and (directory or not record.uid == status.st_uid == base.owner):
            return Deletion(record, Outcome.REFUSED, _DIRECT, 0, "not-private")
        freed = 0
        if status.st_nlink == 1 and not directory:
            size, allocated = status.st_size, status.st_blocks * 512
            freed = size if size < allocated else allocated
        faults.reach("direct.found")
        if session.asks_in_use or directory:
            objection = checks.ask_in_use(record, fd, name, session, _DIRECT)
            if objection is not None:
                return objection
        expected = Deletion(record, _DELETED, _DIRECT, freed)
        return Plan(self, record, root, fd, name, expected, freed)

    def carry_out(self, plan: Plan, session: Session) -> Deletion:
        if plan.left is not None:
            return guarded.finish(plan.record, plan.root, plan.left, session)
        if _DIRECTORY in plan.record.flags:
            return guarded.Guarded().carry_out(plan, session)
        if not session.secure:
            if not session.may_go_on():
                raise Stopped
            os.unlink(plan.name, dir_fd=plan.fd)
            faults.reach("direct.unlinked")
            return plan.expected
        session.inside += 1
        try:
            entry = moving.begin(plan, plan.fd, plan.name, session)
        except (OSError, Stopped):
            session.inside -= 1
            raise
        moving.destroy(plan, session.private(plan.root), entry, session)
        return plan.expected


def left_of_created(record: FileRecord, session: Session) -> Entry | None:
    """The entry that a dead claimer of *record* moved into the private directory."""
    return next(iter(session.entries_of(session.roots.base, record.path)), None)
