"""
The last resort for a plain file if its root has no private directory, and none can be created: the disk has no free
block or inode, or other users have taken its names. Otherwise a full disk could never be cleaned.

The file is moved within its own directory to a name that is derived from its path, compared there, and unlinked. That
is as safe as the private directory where nobody else can rename what has that name: in a directory that others may not
write to, or only with the sticky bit. Its owner must be root, this user or the owner of the file, who could unlink the
file anyway.

After a crash the file has that name. The next claim of its record gives it its own name back. The name does not look
like that of a private directory, so that ``adopt`` finds the file if its record was lost.
"""

from __future__ import annotations

import errno
import os
import stat

from ..filesystem import Root, digest_of, is_shared
from ..records import Deletion, FileRecord
from . import moving
from .plan import Plan
from .session import Session

_LASTING = (errno.ENOSPC, errno.EDQUOT, errno.EEXIST, errno.EACCES, errno.EPERM)
"""Why a private directory cannot be created, also at the next try. The file would wait for ever."""


def carry_out(plan: Plan, session: Session, exc: OSError) -> Deletion:
    """
    Delete the file of *plan*, whose private directory could not be created because of *exc*.

    Raises:
        OSError: *exc*, if it has to wait for that directory.
    """
    if not is_possible(plan, session, exc.errno):
        raise exc
    give_back(plan.record, plan.root, session)
    entry = _entry_of(plan.record)
    objection = moving.move_and_compare(plan, plan.fd, entry, session)
    if objection is None:
        moving.destroy(plan, plan.fd, entry, session)
    return objection or plan.expected


def give_back(record: FileRecord, root: Root, session: Session) -> None:
    """Give the file its name back that an earlier claim of *record* left in its directory; usually there is none."""
    try:
        fd = session.parent(root, record.path)
    except OSError:
        return
    moving.put_back(fd, _entry_of(record), fd, os.path.basename(record.path), session)


def is_possible(plan: Plan, session: Session, code: int | None) -> bool:
    """Whether the file of *plan* need not wait for a private directory that cannot be created, with errno *code*."""
    record = plan.record
    if code not in _LASTING or moving.takes_long(record, session) or record.is_quarantined:
        return False
    directory = os.fstat(plan.fd)
    is_safe = not is_shared(directory) or directory.st_mode & stat.S_ISVTX
    return bool(is_safe) and directory.st_uid in (0, os.geteuid(), record.uid)


def _entry_of(record: FileRecord) -> str:
    return f".{digest_of(record.path)}.tempfleet"
