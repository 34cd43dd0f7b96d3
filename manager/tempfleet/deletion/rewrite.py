"""
Rewrites: a careful writer puts a new file under the name with ``os.replace``, instead of changing the registered one.

Such a file is not deleted, because its identity is another one. It is not forgotten either: it enters the registry in
the place of the old one, with a life of its own from its last change. When that is over, it goes by its own identity.
A file counts as the rewrite of a registered one only if nobody but the owner can have meant it:

- The old one was registered as a plain file in the base directory. A name that ``create()`` made is proof by itself:
  its deadline counts for whatever has that name, so nothing replaces it until its record has an identity. Elsewhere
  only the registered inode counts: a write to a file with a weak identity changed that identity.
- The new one is a plain file of the same owner, with one hard link. Nobody else can put one there: if root works in
  another user's base directory, that user can exchange root's files, so none of them counts.
- It was born after the registration. If the file system stores no birth time, its last change counts as its birth.

The two times are of two clocks, so ages are compared, not times: a host whose clock is wrong sees the same. The birth
time has the ticks of the kernel's clock, so up to TICK_NS before the registration count as after it; a slow answer of
Redis adds its time. The owner of the registered file moved the other one there, so a mistake harms nobody else.
"""

from __future__ import annotations

import stat
import sys
import time
from typing import Final

from ..filesystem import Identity, Root
from ..records import NO_UID, Deletion, FileRecord, Flag, Outcome, Rewrite, Way
from .plan import Quarantined
from .session import Session

_COARSE_CLOCK: Final = 5
"""CLOCK_REALTIME_COARSE, which Linux takes birth times from. Python has no name for it."""


def _tick_ns() -> int:
    """By how much a birth time may be too early; Redis's times are in whole milliseconds."""
    tick_seconds = time.clock_getres(_COARSE_CLOCK) if sys.platform == "linux" else 0.01
    return int(tick_seconds * 1e9) + 1_000_000


TICK_NS: Final = _tick_ns()

_NO_PLAIN_FILE = frozenset({Flag.DIRECTORY.value, Flag.QUARANTINED.value})


def or_rewritten(result: Deletion | Quarantined, session: Session) -> Deletion | Quarantined:
    """
    Returns *result*, or REWRITTEN if the file that has the name now is the rewrite of the registered one.

    Call it if the registered object is not under its name: it was replaced, or an earlier claim had moved it away.
    """
    record, root = result.record, session.roots.find(result.record.path)
    if root is None or not _may_be_rewritten(record, session):
        return result
    try:
        rewrite, reason = _look(record, root, session)
    except OSError:  # nothing has the name
        return result
    way, freed = (result.way, result.freed_bytes) if isinstance(result, Deletion) else (Way.GUARDED, 0)
    if rewrite is not None:
        return Deletion(record, Outcome.REWRITTEN, way, freed, rewrite=rewrite)
    if isinstance(result, Deletion) and result.outcome is Outcome.REPLACED:
        return result._replace(reason=result.reason or reason)
    return result


def _may_be_rewritten(record: FileRecord, session: Session) -> bool:
    base, is_plain = session.roots.base, not _NO_PLAIN_FILE.intersection(record.flags)
    in_base = record.path.startswith(base.prefix) and base.keeps_names_of(record.uid)
    return is_plain and (in_base or Identity(record.identity).is_weak)


def _look(record: FileRecord, root: Root, session: Session) -> tuple[Rewrite | None, str]:
    """Returns the file that has the name now; or None, and in one word why it is not the rewrite."""
    fd = session.parent(root, record.path)
    name = record.path[record.path.rindex("/") + 1 :]
    status = session.reader.stat(fd, name)
    if status.kind != stat.S_IFREG or status.is_elsewhere(root.mount, root.device):
        return None, ""
    if record.uid != status.uid or record.uid == NO_UID:
        return None, "owner"
    if status.nlink != 1:
        return None, "linked"
    if root is not session.roots.base and not Identity(record.identity).has_inode_of(status):
        return None, ""
    registered_ns = session.registered_here_ns(record)
    born_ns = status.change_ns if status.birth_ns is None else status.birth_ns
    if registered_ns is None or born_ns < registered_ns - TICK_NS:
        return None, "older"
    identity = Identity.of(session.reader, fd, name, status, handles=root.handles)
    return Rewrite(identity, status.size, status.change_ns), ""
