"""
The steps of the guarded way after its checks: move a file into the private directory, compare it there, and destroy it,
or give it its name back. See ``guarded``.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import partial

from ..filesystem import BEGUN, O_PATH, Identity, Use, close, in_use
from ..logs import logger, printable
from ..records import Deletion, FileRecord, Flag, Outcome
from ..records import Way as Word
from . import failpoints as faults
from . import inside
from .comparison import OTHER, SAME, compare, is_of_kind
from .plan import Plan
from .session import Session, Stopped
from .unlink import remove

_REPLACED, _GUARDED = Outcome.REPLACED, Word.GUARDED
_DIRECTORY = Flag.DIRECTORY.value
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST_BESIDE = 255 - 17
"""Bytes of a name. They leave room for a dot and 16 random digits, if the name itself is taken."""


_TRIES = 10
"""Of names for a file whose own name is taken. Ten random names cannot all be taken; then the directory is at fault."""


def renamed(fd: int, name: str, rename: Callable[[], None]) -> None:
    """
    Call *rename* for *name* of directory *fd*. A directory that moves to another one needs the right to write to it,
    because its ".." changes. A directory of this user without that right gets it, by its descriptor, for the moment.
    """
    try:
        rename()
    except PermissionError:
        try:
            moved = os.open(name, _OPEN_DIRECTORY, dir_fd=fd)
        except OSError:
            moved = -1  # not a directory, or not ours
        if moved < 0:
            raise
        try:
            status = os.fstat(moved)
            mode = stat.S_IMODE(status.st_mode)
            if status.st_uid != os.geteuid() or mode & stat.S_IWUSR:
                raise
            os.fchmod(moved, mode | stat.S_IWUSR)
            try:
                rename()
            finally:
                os.fchmod(moved, mode)
        finally:
            close(moved)


class NotPutBack(Exception):
    """A file could not be given its name back. It is safe in the private directory, and the journal has it."""


def move_and_compare(plan: Plan, private: int, entry: str, session: Session) -> Deletion | None:
    """
    Move the file of *plan* into the directory *private* as *entry*. Returns None if it is the registered object, and if
    everything in it may go.

    Otherwise it has its name back when this returns, and also if it raises an exception.
    """
    record, fd, name = plan.record, plan.fd, plan.name
    identity = Identity(record.identity)
    pinned = _pin(fd, name) if identity.is_weak else -1
    try:
        if pinned >= 0:
            status = session.reader.fstat(pinned)
            if not (is_of_kind(record, status) and identity.matches(status)):
                return Deletion(record, _REPLACED, _GUARDED)
        session.inside += 1
        try:
            if _DIRECTORY in record.flags:
                move = partial(os.rename, name, entry, src_dir_fd=fd, dst_dir_fd=private)
                renamed(fd, name, move)
            else:
                os.rename(name, entry, src_dir_fd=fd, dst_dir_fd=private)
        except OSError:
            session.inside -= 1
            raise
        try:
            faults.reach("guarded.moved")
            objection = _objection_to_moved(plan, private, entry, session)
        except BaseException:
            take_back(plan, private, entry, session)
            raise
    finally:
        if pinned >= 0:
            close(pinned)
    if objection is not None:
        take_back(plan, private, entry, session)
    return objection


def _objection_to_moved(plan: Plan, private: int, entry: str, session: Session) -> Deletion | None:
    record, exclusive = plan.record, session.exclusive
    answer = compare(record, plan.root, private, entry, session.reader)
    if answer is OTHER:
        return Deletion(record, _REPLACED, _GUARDED, reason="raced")
    if answer is not SAME:
        return unknown(record)
    faults.reach("guarded.compared")
    if exclusive >= 0 and session.use is Use.FREE and not in_use.still_free(exclusive):
        session.use = Use.OPEN
        return Deletion(record, Outcome.BUSY, _GUARDED, reason=Use.OPEN.value)
    if _DIRECTORY in record.flags:
        return inside.objection(record, private, entry, session, plan.expected.way or _GUARDED, claim=True)
    return None


def unknown(record: FileRecord) -> Deletion:
    return Deletion(record, Outcome.FAILED, _GUARDED, reason="identity-unknown")


def _pin(fd: int, name: str) -> int:
    """
    Hold the file open, so that its inode number cannot go to another file. A weak identity needs that, because a
    rename changes it.
    """
    return os.open(name, O_PATH | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)


def takes_long(record: FileRecord, session: Session) -> bool:
    """Whether destroying it takes more than one system call, so that a part of it can be left."""
    return _DIRECTORY in record.flags or session.secure


def begin(plan: Plan, fd: int, name: str, session: Session, *, begun: str = "") -> str:
    """
    Begin to destroy *name* of directory *fd*, which was proven to be the file of *plan*. Returns its new name in the
    private directory.

    First the record shows it, then the name. So nobody is promised a file of which a part is gone: not by the registry,
    and not by ``restore``, which needs no registry.

    Raises:
        Stopped: the lease is gone. Nothing was changed.
    """
    begun = begun or f"{session.entry_name(plan.record.path)}.{BEGUN}"
    if not session.promises.begin(plan.record, session.token):
        raise Stopped
    session.promises.settle(plan.record, gone=True)
    faults.reach("begin.recorded")
    os.rename(name, begun, src_dir_fd=fd, dst_dir_fd=session.private(plan.root))
    faults.reach("begin.renamed")
    return begun


def rename_moved(plan: Plan, private: int, entry: str, new_name: str, session: Session) -> None:
    """Give *entry*, which was proven to be the file of *plan*, the name of its next state."""
    try:
        session.go_on()
        os.rename(entry, new_name, src_dir_fd=private, dst_dir_fd=private)
    except BaseException:
        take_back(plan, private, entry, session)
        raise
    session.inside -= 1


def destroy(plan: Plan, private: int, entry: str, session: Session) -> int:
    """
    Remove what was proven to be the registered object. Returns the freed bytes of a directory.

    If it cannot be removed, it gets its name back, so that a person finds it there. If the time runs out, a plain file
    gets its name back. What was begun stays where it is, and the next claim goes on with it.
    """
    directory = _DIRECTORY in plan.record.flags
    try:
        freed = remove(private, entry, session, directory=directory, exclusive=session.exclusive)
    except FileNotFoundError:
        freed = 0  # an earlier claimer, slow but alive, removed it
    except OSError:
        take_back(plan, private, entry, session)
        raise
    except Stopped:
        if not takes_long(plan.record, session):
            take_back(plan, private, entry, session)
        raise
    session.inside -= 1
    faults.reach("guarded.unlinked")
    return freed


def take_back(plan: Plan, private: int, entry: str, session: Session) -> None:
    """Give the file of *plan* its name back."""
    put_back(private, entry, plan.fd, plan.name, session)
    session.inside -= 1


def put_back(private: int, entry: str, fd: int, name: str, session: Session) -> None:
    """
    Give a file its name back, never over another file. If the name is taken, it gets a new name beside it.

    Raises:
        NotPutBack: the file has to stay in the private directory.
    """
    new_name = name
    for tries_left in reversed(range(_TRIES)):
        try:
            directory = is_directory(private, entry)
        except FileNotFoundError:
            return  # another claimer, or a recovery scan, was faster
        try:
            back = session.roots.system.rename_noreplace
            renamed(private, entry, partial(back, private, entry, fd, new_name, directory=directory))
            break
        except OSError as exc:
            if exc.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR) and tries_left:
                new_name = f"{os.fsdecode(os.fsencode(name)[:_LONGEST_BESIDE])}.{os.urandom(8).hex()}"
            else:
                logger.error("%s could not be put back (%s); it is kept as %s", printable(name), exc, entry)
                raise NotPutBack from exc
    faults.reach("guarded.put-back")
    if new_name != name:
        logger.warning(
            "%s was taken; the file that was moved from it is now %s", printable(name), printable(new_name)
        )


def is_there(fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_directory(private: int, entry: str) -> bool:
    return stat.S_ISDIR(os.stat(entry, dir_fd=private, follow_symlinks=False).st_mode)
