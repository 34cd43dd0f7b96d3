"""
The grace period (``TEMP_FILE_QUARANTINE``): deleted files wait in the private directory, and can be brought back.

``set_aside`` is the guarded way with another end: the file stays in the private directory under a name of its
own, and its record moves with it, in the registry, to that new path. There it is due when the grace period
ends, and deleting that record is what frees the disk. A symlink beside the file, which nobody
follows, says where it was, so that ``restore`` needs the disk alone, also when Redis was lost.

Each user has a private directory of his own, and a volume's owner and root may both clean it. What another one of
them set aside is deleted as any file of a caller's is: moved into our own directory and compared there.

A crash leaves either nothing changed, or the file set aside while its record is still the old one. The next
claim of that record finds it by its digest and reports it as set aside once more. Where Redis lost the record, the
clean-up registers what it finds in the base directory anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from ..filesystem import ASIDE, Entry, Identity, Root, is_private_name
from ..records import Deletion, FileRecord, Flag, NewFile, Outcome, Way
from . import checks, direct, guarded
from . import failpoints as faults
from .restore import forget_origin
from .session import Session
from .unlink import remove

FULL = "quarantine-full"
QUARANTINE = "quarantine"
"""The reason of a file that would be set aside, where nothing is changed."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """
    A file that was set aside: *new* is to take the place of *record* in the registry, in one move.

    *new* has the identity, owner and tags of *record*, its flags and Flag.QUARANTINED, and the path of the file now.
    Its time to live is the quarantine's.
    """

    record: FileRecord
    new: NewFile


def set_aside(record: FileRecord, root: Root, session: Session) -> Quarantined | Deletion:
    """
    Move what was registered as *record* aside; a ``Deletion`` where that is not what happened.

    Beyond ``TEMP_FILE_QUARANTINE_MAX_BYTES`` a file is deleted at once, with the reason "quarantine-full".
    """
    done = _set_aside_by_name(record, root, session)
    if isinstance(done, Deletion) and done.outcome in (Outcome.MISSING, Outcome.REPLACED):
        if (left := left_in_quarantine(record, root, session)) is not None:
            return _moved(record, root, left.name, left.size_bytes, session)
        return guarded.delete(record, root, session)  # perhaps half done by an earlier claim
    return done


def left_in_quarantine(record: FileRecord, root: Root, session: Session) -> Entry | None:
    """What a claimer of *record* set aside and did not live to tell the registry."""
    for left in session.entries_of(root, record.path):
        if left.aside and guarded.is_same(record, root, root.private.peek(), left.name, session):
            return left
    return None


def _set_aside_by_name(record: FileRecord, root: Root, session: Session) -> Quarantined | Deletion:
    try:
        fd = session.parent(root, record.path)
        name = record.path[record.path.rindex("/") + 1 :]
        found = session.reader.stat(fd, name)
    except (FileNotFoundError, NotADirectoryError) as exc:
        return checks.not_found(record, exc)
    if record.is_unverified:
        known = checks.verify(record, root, fd, name, found, session)
        if isinstance(known, Deletion):
            return known
        record = known
    if (no := checks.objection(record, root, found, session)) is not None:
        return no
    no, held = checks.ask_in_use(record, fd, name, session, Way.GUARDED)
    if no is not None:
        return no
    try:
        size = checks.inspect_tree(fd, name, session)[1] if record.is_directory else found.size
        entry = f"{session.entry_name(record.path)}.{size:x}.{ASIDE}"
        fits = session.fits_quarantine(root, size)  # asked last: what stays takes no room
        if fits:
            no = _set_aside(record, root, fd, name, entry, held, session)
    finally:
        if held >= 0:
            os.close(held)
    if not fits:
        return _full(guarded.delete(record, root, session))
    return no or _moved(record, root, entry, size, session)


def set_aside_created(record: FileRecord, name: str, session: Session) -> Quarantined | Deletion:
    """The same for a name made by ``create()``: it is ours, so it gets its identity only now, out of reach."""
    base = session.roots.base
    if (left := direct.left_in_quarantine(record, session)) is not None:
        found = with_identity(record, base, left.name, session)
        return _moved(found, base, left.name, left.size_bytes, session, record)
    verdict = direct.look(record, name, session)
    if verdict.outcome is not Outcome.DELETED:
        return verdict
    size = checks.inspect_tree(base.fd, name, session)[1] if record.is_directory else verdict.freed_bytes
    if not session.fits_quarantine(base, size):
        return _full(direct.delete(record, name, session))
    private = session.private(base)
    entry = f"{session.entry_name(record.path)}.{size:x}.{ASIDE}"
    os.symlink(record.path, Entry(entry, "", 0).from_name, dir_fd=private)
    faults.reach("set-aside.noted")
    os.rename(name, entry, src_dir_fd=base.fd, dst_dir_fd=private)
    faults.reach("set-aside.moved")
    return _moved(with_identity(record, base, entry, session), base, entry, size, session, record)


def with_identity(record: FileRecord, root: Root, entry: str, session: Session) -> FileRecord:
    private = root.private.open()
    found = session.reader.stat(private, entry)
    identity = Identity.of(session.reader, private, entry, found, handles=root.handles)
    return replace(record, identity=identity, flags=record.flags.replace(Flag.CREATED, ""))


def _full(deletion: Deletion) -> Deletion:
    return deletion._replace(reason=FULL) if deletion.outcome is Outcome.DELETED else deletion


def _set_aside(
    record: FileRecord, root: Root, fd: int, name: str, entry: str, held: int, session: Session
) -> Deletion | None:
    private = session.private(root)
    beside = Entry(entry, "", 0).from_name
    os.symlink(record.path, beside, dir_fd=private)
    faults.reach("set-aside.noted")
    no = guarded.move_and_compare(record, root, fd, name, entry, held, session)
    if no is not None:
        os.unlink(beside, dir_fd=private)
    faults.reach("set-aside.moved")
    return no


def _moved(
    record: FileRecord, root: Root, entry: str, size: int, session: Session, old: FileRecord | None = None
) -> Quarantined:
    return Quarantined(
        old or record,
        NewFile(
            path=f"{root.private.path}/{entry}",
            ttl_ms=int(session.settings.quarantine_seconds * 1000),
            size_bytes=size,
            identity=record.identity,
            flags=record.flags + Flag.QUARANTINED,
            uid=record.uid,
            tags=record.tags,
        ),
    )


def purge(record: FileRecord, root: Root, session: Session) -> Deletion:
    """Delete a file whose grace period ended: *record* has the path that ``set_aside`` gave it."""
    if _is_anothers(record, root):
        return guarded.delete(record, root, session)
    verdict = _judge(record, root, session)
    if verdict.outcome is not Outcome.DELETED:
        return verdict
    private, name = root.private.peek(), _name_in(record, root)
    try:
        freed = remove(private, name, session, directory=record.is_directory)
    except FileNotFoundError:  # restored, or purged by another, at this moment
        return Deletion(record, Outcome.MISSING, Way.GUARDED)
    forget_origin(private, Entry(name, "", 0))
    return verdict._replace(freed_bytes=freed) if record.is_directory else verdict


def look_before(record: FileRecord, root: Root, session: Session) -> Deletion:
    """What ``set_aside`` would do, changing nothing."""
    verdict = guarded.look_by_name(record, root, session)
    if verdict.outcome in (Outcome.MISSING, Outcome.REPLACED):
        if left_in_quarantine(record, root, session) is not None:
            return Deletion(record, Outcome.DELETED, Way.GUARDED, reason=QUARANTINE)
        return guarded.look(record, root, session)
    try:
        fd = session.parent(root, record.path)
        name = record.path[record.path.rindex("/") + 1 :]
        size = session.reader.stat(fd, name).size
    except (FileNotFoundError, NotADirectoryError):
        return verdict
    return _in_grace(verdict, root, fd, name, size, session)


def look_before_created(record: FileRecord, name: str, session: Session) -> Deletion:
    """What ``set_aside_created`` would do, changing nothing."""
    verdict, base = direct.look(record, name, session), session.roots.base
    if direct.left_in_quarantine(record, session) is not None:
        return verdict._replace(reason=QUARANTINE, freed_bytes=0)
    return _in_grace(verdict, base, base.fd, name, verdict.freed_bytes, session)


def _in_grace(verdict: Deletion, root: Root, fd: int, name: str, size: int, session: Session) -> Deletion:
    if verdict.outcome is not Outcome.DELETED:
        return verdict
    if verdict.record.is_directory:
        size = checks.inspect_tree(fd, name, session)[1]
    if not session.fits_quarantine(root, size):
        return _full(verdict)
    return verdict._replace(reason=QUARANTINE, freed_bytes=0)


def look(record: FileRecord, root: Root, session: Session) -> Deletion:
    """What ``purge`` would do, changing nothing."""
    if _is_anothers(record, root):
        return guarded.look(record, root, session)
    verdict = _judge(record, root, session)
    if verdict.outcome is not Outcome.DELETED or not record.is_directory:
        return verdict
    private, name = root.private.peek(), _name_in(record, root)
    return verdict._replace(freed_bytes=guarded.given_back(record, private, name, session))


def _judge(record: FileRecord, root: Root, session: Session) -> Deletion:
    private, name = root.private.peek(), _name_in(record, root)
    if private < 0 or not name:
        return Deletion(record, Outcome.REFUSED, reason="private")
    try:
        if not guarded.is_same(record, root, private, name, session):
            return Deletion(record, Outcome.REPLACED, Way.GUARDED)
        found = session.reader.stat(private, name)
    except FileNotFoundError:
        return Deletion(record, Outcome.MISSING, Way.GUARDED)
    return Deletion(record, Outcome.DELETED, Way.GUARDED, 0 if record.is_directory else found.freed_bytes)


def _is_anothers(record: FileRecord, root: Root) -> bool:
    """Whether *record* is of a file that another user set aside, in the private directory that is his."""
    at = record.path.rpartition("/")[0]
    private = at.removeprefix(root.prefix)
    if not record.is_quarantined or "/" in private or not is_private_name(private):
        return False
    root.private.peek()
    return at != root.private.path


def _name_in(record: FileRecord, root: Root) -> str:
    """The name in the private directory, if *record* is of a file set aside there; else ""."""
    at, _, name = record.path.rpartition("/")
    entry = Entry.parse(name)
    return name if at == root.private.path and entry is not None and entry.aside else ""
