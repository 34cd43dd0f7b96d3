"""Whether a record has to wait because somebody uses what it stands for (``TEMP_FILE_IN_USE``)."""

from __future__ import annotations

import os
import stat

from ..filesystem import DEEPEST, LOOKED_INTO, Use, has_mount, in_use
from ..records import Deletion, FileRecord, Outcome, Way
from .session import Session

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def ask(record: FileRecord, fd: int, name: str, session: Session, way: Way) -> tuple[Deletion | None, int]:
    """
    Ask about *name* of directory *fd*.

    Returns:
        The objection, if there is one; and the descriptor that keeps a file free, to be closed when it is
        gone.
    """
    if record.is_directory:
        if has_mount(record.path):
            return Deletion(record, Outcome.REFUSED, way, reason="mount"), -1
        if session.asks_in_use:
            session.use, _ = inspect_tree(fd, name, session)
        return _objection(record, session, way), -1
    if not session.asks_in_use:
        return None, -1
    session.use, held = in_use.hold(fd, name, write_locks=session.write_locks)
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


def inspect_tree(fd: int, name: str, session: Session) -> tuple[Use, int]:
    """
    Whether somebody uses the directory *name* of *fd* or a file in it, and how many bytes its files have.

    Only the first few thousand entries are looked at, and none very deep: beyond, the answer is UNKNOWN and the size
    what was seen.
    """
    system = session.roots.system
    top = system.open_beneath(fd, name, _OPEN)
    try:
        if in_use.is_directory_locked(top):
            return Use.LOCKED, 0
        left, size, answer = LOOKED_INTO, 0, Use.FREE
        waiting = ["."]
        while waiting:
            at = waiting.pop()
            if at.count("/") > DEEPEST:
                answer = Use.UNKNOWN
                continue
            try:
                inner = system.open_beneath(top, at, _OPEN)
            except OSError:
                answer = Use.UNKNOWN
                continue
            try:
                with os.scandir(inner) as entries:  # not a list: there may be a million
                    for entry in entries:
                        left -= 1
                        if left < 0:
                            return Use.UNKNOWN, size
                        use, bytes_seen, is_directory = _ask(inner, entry.name, session)
                        size += bytes_seen
                        if is_directory:
                            waiting.append(f"{at}/{entry.name}")
                        elif use in (Use.OPEN, Use.LOCKED):
                            return use, size
                        elif use is Use.UNKNOWN:
                            answer = use
            finally:
                os.close(inner)
    finally:
        os.close(top)
    return answer, size


def _ask(fd: int, name: str, session: Session) -> tuple[Use, int, bool]:
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            return Use.FREE, 0, True
        if not stat.S_ISREG(found.st_mode):
            return Use.FREE, 0, False
        use, held = in_use.hold(fd, name, write_locks=session.write_locks)
    except FileNotFoundError:
        return Use.FREE, 0, False
    except BlockingIOError:  # another process holds a write lock, so it has the file open
        return Use.OPEN, 0, False
    except OSError:
        return Use.UNKNOWN, 0, False
    if held >= 0:
        os.close(held)
    return use, min(found.st_size, found.st_blocks * 512), False
