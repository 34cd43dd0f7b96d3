"""
The direct way: ``fstatat`` and ``unlinkat`` in the base directory, for names that ``new_name`` made.

It needs no identity. Nobody else can rename or remove a name in the base directory, and the name is never
used twice, so whatever is under it is what we put there. Where others may write to the base directory too,
the sticky bit keeps them from our names, and the owner recorded at creation is compared.

For the same reason, what a claimer that died had set aside from the name (``aside``) is ours without a further look.
"""

from __future__ import annotations

import os
import stat

from ..filesystem import Entry, kind_of
from ..records import NO_UID, Deletion, FileRecord, Flag, Outcome, Way
from . import checks, guarded
from . import failpoints as faults
from .session import Session
from .unlink import remove

_DIRECTORY = Flag.DIRECTORY.value
# Looked up once: an enum's members cost more than a tuple to reach, and each file needs several.
_DELETED, _DIRECT = Outcome.DELETED, Way.DIRECT


def delete(record: FileRecord, name: str, session: Session) -> Deletion:
    """Remove what is under *name* in the base directory."""
    try:
        verdict = _judge(record, name, session)
    except FileNotFoundError:
        if (left := left_in_quarantine(record, session)) is None:
            raise
        return guarded.finish(record, session.private(session.roots.base), left, session)
    if verdict.outcome is not _DELETED:
        return verdict
    faults.reach("direct.found")
    base = session.roots.base.fd
    if not (session.asks_in_use or session.secure or _DIRECTORY in record.flags):
        os.unlink(name, dir_fd=base)
        faults.reach("direct.unlinked")
        return verdict
    objection, held = checks.ask_in_use(record, base, name, session, Way.DIRECT)
    if objection is not None:
        return objection
    try:
        freed = remove(base, name, session, directory=_DIRECTORY in record.flags, held=held)
    finally:
        if held >= 0:
            os.close(held)
    faults.reach("direct.unlinked")
    return Deletion(record, Outcome.DELETED, Way.DIRECT, freed) if _DIRECTORY in record.flags else verdict


def look(record: FileRecord, name: str, session: Session) -> Deletion:
    """What ``delete`` would do, changing nothing."""
    try:
        verdict = _judge(record, name, session)
    except FileNotFoundError:
        if (left := left_in_quarantine(record, session)) is None:
            raise
        private = session.roots.base.private.peek()
        return Deletion(
            record, _DELETED, Way.GUARDED, guarded.given_back(record, private, left.name, session)
        )
    if verdict.outcome is not Outcome.DELETED:
        return verdict
    base = session.roots.base.fd
    objection, held = checks.ask_in_use(record, base, name, session, Way.DIRECT)
    if held >= 0:
        os.close(held)
    if objection is None and _DIRECTORY in record.flags:
        return verdict._replace(freed_bytes=checks.inspect_tree(base, name, session)[1])
    return objection or verdict


def left_in_quarantine(record: FileRecord, session: Session) -> Entry | None:
    """What a claimer of *record* set aside and did not live to tell the registry."""
    return next((left for left in session.entries_of(session.roots.base, record.path) if left.aside), None)


def _judge(record: FileRecord, name: str, session: Session) -> Deletion:
    base = session.roots.base
    found = os.stat(name, dir_fd=base.fd, follow_symlinks=False)
    mode = found.st_mode
    directory = _DIRECTORY in record.flags
    if not (stat.S_ISDIR(mode) if directory else stat.S_ISREG(mode)):
        return Deletion(record, Outcome.REPLACED, Way.DIRECT, 0, kind_of(mode))
    if record.uid != found.st_uid and (not base.trusted or (session.owner_check and record.uid != NO_UID)):
        return Deletion(record, Outcome.REFUSED, Way.DIRECT, 0, "owner")
    freed = 0
    if found.st_nlink == 1 and not directory:
        size, allocated = found.st_size, found.st_blocks * 512
        freed = size if size < allocated else allocated
    return Deletion(record, _DELETED, _DIRECT, freed)
