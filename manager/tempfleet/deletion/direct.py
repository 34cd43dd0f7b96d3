"""
The direct way: ``fstatat`` and ``unlinkat`` in the base directory, for names that ``new_name`` made.

It needs no identity. Nobody else can rename or remove a name in the base directory, and the name is never
used twice, so whatever is under it is what we put there. Where others may write to the base directory too,
the sticky bit keeps them from our names, and the owner recorded at creation is compared.
"""

from __future__ import annotations

import os
import stat

from ..records import NO_UID, Deletion, FileRecord, Outcome, Way
from . import faults, tree
from .inspection import kind_of
from .session import Session


def delete(record: FileRecord, name: str, session: Session) -> Deletion:
    """Unlink what is under *name* in the base directory."""
    looked = look(record, name, session)
    if looked.outcome is not Outcome.DELETED:
        return looked
    faults.reach("direct.found")
    fd = session.roots.base.fd
    if record.is_directory:
        return tree.delete(record, fd, name, session, Way.DIRECT)
    os.unlink(name, dir_fd=fd)
    faults.reach("direct.unlinked")
    return looked


def look(record: FileRecord, name: str, session: Session) -> Deletion:
    """What ``delete`` would do, changing nothing."""
    base = session.roots.base
    found = os.stat(name, dir_fd=base.fd, follow_symlinks=False)
    wanted = stat.S_IFDIR if record.is_directory else stat.S_IFREG
    if stat.S_IFMT(found.st_mode) != wanted:
        return Deletion(record, Outcome.REPLACED, Way.DIRECT, reason=kind_of(found.st_mode))
    if record.uid not in (NO_UID, found.st_uid) or (not base.trusted and record.uid == NO_UID):
        return Deletion(record, Outcome.REFUSED, Way.DIRECT, reason="owner")
    freed = min(found.st_size, found.st_blocks * 512) if found.st_nlink == 1 else 0
    return Deletion(record, Outcome.DELETED, Way.DIRECT, 0 if record.is_directory else freed)
