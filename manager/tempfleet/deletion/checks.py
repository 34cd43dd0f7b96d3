"""
Every reason not to delete a file, in the order in which the ways ask for them.

    kind, mount, identity, owner     ``objection``, from one stat of the entry
    age                              ``verify``, for a record that was made for a silent host
    in use                           ``ask_in_use``, of the kernel (``TEMP_FILE_IN_USE``)
    what is inside                   ``ask_in_use``, for a directory; see ``inside``
    system rights                    ``system_refusal``, only for a dry run: a real deletion tries, and gets the error

The checks before the move only save other files the trip. The comparison in the private directory decides, see
``guarded``.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace

from ..filesystem import (
    WEAK,
    Identity,
    Reader,
    Root,
    Stat,
    Use,
    close,
    has_mount,
    in_use,
    is_below,
    is_younger,
    kind_of,
    read_mounts,
    tree_walk,
)
from ..records import NO_IDENTITY, NO_UID, Deletion, FileRecord, Flag, Outcome, Way
from . import inside
from .session import Session

_DIRECTORY = Flag.DIRECTORY.value
_UNVERIFIED = Flag.UNVERIFIED.value
_CAP_FOWNER = 1 << 3


def not_found(record: FileRecord, exc: OSError) -> Deletion:
    reason = "not-a-directory" if exc.errno == errno.ENOTDIR else ""
    return Deletion(record, Outcome.MISSING, Way.GUARDED, reason=reason)


def objection(record: FileRecord, root: Root, stat_result: Stat, session: Session) -> Deletion | None:
    """Why the entry with *stat_result* is not to be deleted as *record*; None if it may be the registered object."""
    identity = Identity(record.identity)
    if not identity.is_valid:
        return Deletion(record, Outcome.REFUSED, Way.GUARDED, reason="no-identity")
    if stat_result.is_elsewhere(root.mount, root.device):
        return Deletion(record, Outcome.REFUSED, Way.GUARDED, reason="mount")
    if stat.S_IFMT(stat_result.mode) != (stat.S_IFDIR if _DIRECTORY in record.flags else stat.S_IFREG):
        return Deletion(record, Outcome.REPLACED, Way.GUARDED, reason=kind_of(stat_result.mode))
    if not identity.matches(stat_result):
        return Deletion(record, Outcome.REPLACED, Way.GUARDED)
    if record.uid != stat_result.uid and record.uid != NO_UID and session.owner_check:
        return Deletion(record, Outcome.REFUSED, Way.GUARDED, reason="owner")
    if not identity.can_decide(stat_result, handles=root.handles):
        return Deletion(record, Outcome.FAILED, Way.GUARDED, reason="identity-unknown")
    return None


def with_present_inode(
    record: FileRecord, root: Root, fd: int, name: str, stat_result: Stat, session: Session
) -> FileRecord:
    """
    Returns *record*, with the inode number of *stat_result* if that is all that differs from a weak identity. On some
    FUSE file systems a file gets another number when the kernel has forgotten it, or after a remount. Another file of
    that name has another change time.
    """
    identity = record.identity
    if not identity.startswith(WEAK) or not Identity(identity).is_unchanged_in(stat_result):
        return record
    present = Identity.of(session.reader, fd, name, stat_result, handles=root.handles)
    return replace(record, identity=present) if present.is_weak else record


def verify(
    record: FileRecord, root: Root, fd: int, name: str, stat_result: Stat, session: Session
) -> FileRecord | Deletion:
    """
    Verify a record that was made for a silent host. Returns it with the identity of *stat_result*, or the reason why it
    cannot have meant that file.

    The file must be older than the registration: a younger one did not exist then. A record that had an identity
    before stands for that file, wherever it is.
    """
    confined = is_below(record.path, session.settings.confined_roots)
    plain = replace(record, flags=record.flags.replace(_UNVERIFIED, ""))
    if record.identity != NO_IDENTITY and (not confined or Identity(record.identity).matches(stat_result)):
        return plain
    if not confined:
        return Deletion(record, Outcome.REFUSED, Way.GUARDED, reason="outside-message-roots")
    if stat_result.kind != stat.S_IFREG:
        return Deletion(record, Outcome.REPLACED, Way.GUARDED, reason=kind_of(stat_result.mode))
    if is_younger(stat_result, record.registered_ms):
        return Deletion(record, Outcome.REPLACED, Way.GUARDED, reason="too-young")
    identity = Identity.of(session.reader, fd, name, stat_result, handles=root.handles)
    return replace(plain, identity=identity, uid=stat_result.uid)


def ask_in_use(record: FileRecord, fd: int, name: str, session: Session, way: Way) -> Deletion | None:
    """
    Ask the kernel whether a process uses *name* of directory *fd*; and the registries about what is in a directory.

    Returns the objection, if there is one. Otherwise ``session.exclusive`` has the kernel's write lock, if that was
    given.
    """
    if record.is_directory:
        mounts = read_mounts()
        if has_mount(record.path, mounts):
            return Deletion(record, Outcome.REFUSED, way, reason="mount")
        if session.asks_in_use:
            session.use, _ = inspect_tree(fd, name, session)
        used = _use_objection(record, session, way)
        return used or inside.objection(record, fd, name, session, way, mounts=mounts)
    if not session.asks_in_use:
        return None
    session.use, session.exclusive = in_use.hold(fd, name, write_locks=session.write_locks)
    if session.use is Use.FREE:
        return None
    session.release()  # it proves nothing, and on a FUSE mount that hangs it would keep the process from ending
    return _use_objection(record, session, way)


def _use_objection(record: FileRecord, session: Session, way: Way) -> Deletion | None:
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
        close(top)
    return Use.UNKNOWN if unknown or unopened else Use.FREE, size


def _use_of(fd: int, entry: os.DirEntry[str], session: Session) -> tuple[Use, int]:
    """Whether a process uses one entry of directory *fd*, and the bytes that deleting it would free."""
    try:
        stat_result = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(stat_result.st_mode):
            # The walk looks into it, unless it took the place of a file after the listing.
            return (Use.FREE if entry.is_dir(follow_symlinks=False) else Use.UNKNOWN), 0
        if not stat.S_ISREG(stat_result.st_mode):
            return Use.FREE, 0
        use, exclusive = in_use.hold(fd, entry.name, write_locks=session.write_locks)
    except FileNotFoundError:
        return Use.FREE, 0
    except BlockingIOError:  # another process has a write lock on it, and so has it open
        return Use.OPEN, 0
    except OSError:
        return Use.UNKNOWN, 0
    if exclusive >= 0:
        in_use.give_back(exclusive)
    return use, min(stat_result.st_size, stat_result.st_blocks * 512)


def is_directory(fd: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)


def system_refusal(fd: int, name: str, reader: Reader) -> int:
    """
    The errno that unlinking *name* of directory *fd* would fail with, 0 for none; as far as that can be predicted.

    It sees what ``change_refusal`` sees, an immutable file, and a file of another user in a sticky directory.
    """
    if code := change_refusal(fd, reader):
        return code
    return _entry_refusal(fd, name, reader)


def tree_refusal(fd: int, name: str, session: Session) -> int:
    """As ``system_refusal``, for what is in directory *name* of directory *fd*, as far as a bounded walk sees it."""
    system, reader = session.roots.system, session.reader
    top = system.open_beneath(fd, name, tree_walk.OPEN_DIRECTORY)
    try:
        entries = tree_walk.entries(top, system, on_error=lambda _: None)
        return next((code for at, entry in entries if (code := _entry_refusal(at, entry.name, reader))), 0)
    except (FileNotFoundError, tree_walk.TooLarge):
        return 0
    finally:
        os.close(top)


def _entry_refusal(fd: int, name: str, reader: Reader) -> int:
    if reader.is_fixed(fd, name):
        return errno.EPERM
    directory = reader.fstat(fd)
    if not directory.mode & stat.S_ISVTX:
        return 0
    owners = (directory.uid, reader.stat(fd, name).uid)
    # As the kernel: the owner of the directory or of the file, or who has CAP_FOWNER.
    return 0 if os.geteuid() in owners or _may_act_as_owner() else errno.EPERM


def change_refusal(fd: int, reader: Reader) -> int:
    """
    The errno that changing the names in directory *fd* would fail with, 0 for none.

    It sees a read-only file system, an immutable directory, and one that this user may not write to.
    """
    if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
        return errno.EROFS
    if reader.is_fixed(fd, ""):
        return errno.EPERM
    effective = os.access in os.supports_effective_ids
    return 0 if os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=effective) else errno.EACCES


def _may_act_as_owner() -> bool:
    """Whether this thread has CAP_FOWNER; without /proc, whether this is root."""
    try:
        with open("/proc/thread-self/status", "rb") as lines:
            capabilities = next(int(line[7:], 16) for line in lines if line.startswith(b"CapEff:"))
    except (OSError, StopIteration, ValueError):
        return os.geteuid() == 0
    return bool(capabilities & _CAP_FOWNER)
