"""Whether a record has to wait because somebody uses what it stands for (``TEMP_FILE_IN_USE``)."""

from __future__ import annotations

import os
import stat

from ..filesystem import Use, has_mount, in_use, tree_walk
from ..records import Deletion, FileRecord, Outcome, Way
from .session import Session


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
    Whether a process uses the directory *name* of directory *fd* or a file in it, and the size of its files in bytes.

    The walk through the tree is bounded. Beyond the bounds the answer is UNKNOWN, and the size is that of the files
    before them.
    """
    system = session.roots.system
    unopened: list[OSError] = []
    size = 0
    unknown = False
    top = system.open_beneath(fd, name, tree_walk.OPEN_DIRECTORY)
    try:
        if in_use.is_directory_locked(top):
            return Use.LOCKED, 0
        for directory, entry in tree_walk.entries(top, system, on_error=unopened.append):
            use, freed_bytes = _use_of(directory, entry, session)
            size += freed_bytes
            if use in (Use.OPEN, Use.LOCKED):
                return use, size
            unknown = unknown or use is Use.UNKNOWN
    except tree_walk.TooLarge:
        unknown = True
    finally:
        os.close(top)
    return Use.UNKNOWN if unknown or unopened else Use.FREE, size


def _use_of(fd: int, entry: os.DirEntry[str], session: Session) -> tuple[Use, int]:
    """Whether a process uses one entry of directory *fd*, and the bytes that deleting it would free."""
    try:
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            # The walk looks into it, unless it took the place of a file after the listing.
            return (Use.FREE if entry.is_dir(follow_symlinks=False) else Use.UNKNOWN), 0
        if not stat.S_ISREG(found.st_mode):
            return Use.FREE, 0
        use, held = in_use.hold(fd, entry.name, write_locks=session.write_locks)
    except FileNotFoundError:
        return Use.FREE, 0
    except BlockingIOError:  # another process has a write lock on it, and so has it open
        return Use.OPEN, 0
    except OSError:
        return Use.UNKNOWN, 0
    if held >= 0:
        os.close(held)
    return use, min(found.st_size, found.st_blocks * 512)
