"""
The guarded way: move aside, compare, unlink; for every name that a caller chose.

Between a check and an unlink by name, whoever may write to the directory can put another file there: done by
descriptor, that race was still lost in 28 % of the tries under attack. So the entry is first renamed into the
private directory, where only this user and root can reach it. *What came along* is compared with the record;
if it is another object, it goes back to where it was, over nothing. The look before the rename only saves
innocent files the trip.
"""

from __future__ import annotations

import os
import stat

from ..logs import logger, printable
from ..records import NO_UID, Deletion, FileRecord, Outcome, Way
from . import faults, identity, tree
from .inspection import kind_of
from .private import entry_prefix
from .roots import Root
from .session import Session
from .syscalls import Stat


def delete(record: FileRecord, root: Root, session: Session) -> Deletion:
    """Delete what was registered as *record*, if it still has the name."""
    path = record.path
    name = path[path.rindex("/") + 1 :]
    fd = session.parent(root, path)
    found = session.reader.stat(fd, name)
    if (no := objection(record, root, found)) is not None:
        return no
    faults.reach("guarded.found")
    private = root.private.open()
    entry = f"{entry_prefix(path)}{session.token:x}"
    os.rename(name, entry, src_dir_fd=fd, dst_dir_fd=private)
    faults.reach("guarded.moved")
    if not is_same(record, root, private, entry, session):
        put_back(private, entry, fd, name, session, directory=record.is_directory)
        return Deletion(record, Outcome.REPLACED, Way.GUARDED, reason="raced")
    faults.reach("guarded.compared")
    if record.is_directory:
        return tree.delete(record, private, entry, session, Way.GUARDED)
    os.unlink(entry, dir_fd=private)
    faults.reach("guarded.unlinked")
    return Deletion(record, Outcome.DELETED, Way.GUARDED, found.freed_bytes)


def look(record: FileRecord, root: Root, session: Session) -> Deletion:
    """What ``delete`` would do, changing nothing."""
    fd = session.parent(root, record.path)
    name = record.path[record.path.rindex("/") + 1 :]
    found = session.reader.stat(fd, name)
    if (no := objection(record, root, found)) is not None:
        return no
    handle = identity.handle_in(record.identity)
    if handle and session.reader.handle(fd, name) not in (b"", handle):
        return Deletion(record, Outcome.REPLACED, Way.GUARDED)
    freed = 0 if record.is_directory else found.freed_bytes
    return Deletion(record, Outcome.DELETED, Way.GUARDED, freed)


def objection(record: FileRecord, root: Root, found: Stat) -> Deletion | None:
    """Why the entry *found* is not to be deleted as *record*; None if it may be what was registered."""
    if found.kind != (stat.S_IFDIR if record.is_directory else stat.S_IFREG):
        return Deletion(record, Outcome.REPLACED, Way.GUARDED, reason=kind_of(found.mode))
    if found.is_elsewhere(root.mount, root.device):
        return Deletion(record, Outcome.REFUSED, Way.GUARDED, reason="mount")
    if not identity.agrees(record.identity, found):
        return Deletion(record, Outcome.REPLACED, Way.GUARDED)
    if record.uid not in (NO_UID, found.uid):
        return Deletion(record, Outcome.REFUSED, Way.GUARDED, reason="owner")
    return None


def is_same(record: FileRecord, root: Root, private: int, entry: str, session: Session) -> bool:
    """Whether the entry of the private directory is the registered object."""
    handle = identity.handle_in(record.identity) if root.handles else b""
    if handle:
        return session.reader.handle(private, entry) == handle
    return identity.agrees(record.identity, session.reader.stat(private, entry))


def put_back(private: int, entry: str, fd: int, name: str, session: Session, *, directory: bool) -> None:
    """Give a stranger's file its name again, over nothing; where the name is taken, one beside it."""
    beside = ""
    while True:
        try:
            session.roots.system.rename_noreplace(private, entry, fd, name + beside, directory=directory)
            break
        except FileExistsError:
            beside = f".{session.token:x}{os.urandom(2).hex()}"
    faults.reach("guarded.put-back")
    if beside:
        logger.warning("%s was taken; the file moved aside is %s", printable(name), printable(name + beside))
