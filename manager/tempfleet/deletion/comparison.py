"""Whether an entry is the registered object: same, other, or unknown, if this system does not show enough to decide."""

from __future__ import annotations

import stat
from enum import Enum

from ..filesystem import Identity, Reader, Root, Stat
from ..records import NO_IDENTITY, FileRecord, Flag


class Answer(Enum):
    """How an entry compares with a record."""

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"


SAME, OTHER, UNKNOWN = Answer.SAME, Answer.OTHER, Answer.UNKNOWN


def compare(record: FileRecord, root: Root, fd: int, name: str, reader: Reader) -> Answer:
    """
    Compare the entry *name* of directory *fd* with *record*.

    The entry was checked by its name before it was moved here, or was moved here by an earlier claim. So of a weak
    identity only the inode number is compared: nothing else has that number while the file exists, and what we did to
    the file since (moved, emptied, overwrote it) changed the rest. A created file has no identity. Its name is never
    used twice, and only this user can rename it, so what was moved from it is that file.

    Raises:
        OSError: ENOENT if there is no such entry.
    """
    identity = Identity(record.identity)
    handles = identity.handles if root.handles else []
    if handles:
        return SAME if reader.handle(fd, name) in handles else OTHER
    status = reader.stat(fd, name)
    if identity == NO_IDENTITY:
        return SAME if Flag.CREATED in record.flags else UNKNOWN
    if identity.is_weak:
        return SAME if identity.has_inode_of(status) and is_of_kind(record, status) else OTHER
    if not identity.matches(status):
        return OTHER
    return SAME if identity.can_decide(status, handles=False) else UNKNOWN


def is_of_kind(record: FileRecord, status: Stat) -> bool:
    """Whether *status* is of a directory or of a file, as *record* is. An inode number is used again for either."""
    return status.kind == (stat.S_IFDIR if Flag.DIRECTORY in record.flags else stat.S_IFREG)
