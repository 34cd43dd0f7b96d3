"""Whether a record has to wait because somebody uses what it stands for (``TEMP_FILE_IN_USE``)."""

from __future__ import annotations

import os

from ..filesystem import in_use
from ..filesystem.in_use import Use
from ..records import Deletion, FileRecord, Outcome, Way
from . import unlink as tree
from .session import Session


def ask(record: FileRecord, fd: int, name: str, session: Session, way: Way) -> tuple[Deletion | None, int]:
    """
    Ask about *name* of directory *fd*.

    Returns:
        The objection, if there is one; and the descriptor that keeps a file free, to be closed when it is
        gone.
    """
    if record.is_directory:
        if tree.has_mount(record.path):
            return Deletion(record, Outcome.REFUSED, way, reason="mount"), -1
        if session.asks_in_use:
            session.use, _ = tree.look_into(fd, name, session)
        return _objection(record, session, way), -1
    if not session.asks_in_use:
        return None, -1
    session.use, held = in_use.hold(fd, name, leases=session.leases)
    if session.use is Use.FREE:
        return None, held
    objection = _objection(record, session, way)
    if objection is not None and held >= 0:
        os.close(held)
        held = -1
    return objection, held


def _objection(record: FileRecord, session: Session, way: Way) -> Deletion | None:
    if session.use in (Use.OPEN, Use.LOCKED):
        return Deletion(record, Outcome.BUSY, way, reason=session.use.value)
    if session.use is Use.UNKNOWN and session.keeps_unknown:
        return Deletion(record, Outcome.BUSY, way, reason="in-use-unknown")
    return None
