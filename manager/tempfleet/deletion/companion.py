"""
The companions of the files in quarantine, and the room there.

A quarantined file outlives its batch, so it has a note of its own beside it: its path, identity and registry, and the
end of its quarantine. ``restore`` needs nothing else, also if Redis lost its data. The companion is written before the
file is moved there, and removed after the file has left. So the sum of the sizes in the companions' names is never less
than what lies in quarantine.

That sum is kept in the small file ``quarantine.bytes``, because listing a full quarantine for each batch is slow. It is
locked while it is read and written, so that cleaners that run at the same time do not exceed the limit together. After
a crash it is too high, never too low. So the companions are counted again before a file is refused; if the quarantine
is full, once in RECOUNT_SECONDS, because the file contains the time of the last count, too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..filesystem import FROM, Entry, Root, close, name_of, unlock_and_close
from ..logs import logger
from ..records import FileRecord
from .note import Note, read_note, text_of
from .promises import Owner

ROOM = "quarantine.bytes"
RECOUNT_SECONDS = 60
"""A planned file is refused without a new count if the last one is not older, by the clock of this host."""
_TRIES, _PAUSE_SECONDS = 100, 0.01
"""The lock is held for microseconds. A holder that was stopped (SIGSTOP) must not stop all others."""


class Full(Exception):
    """The quarantine has no room for the file."""


def write(root: Root, private: int, entry: Entry, owner: Owner, file: FileRecord, limit: int) -> None:
    """
    Reserve room for *entry* in quarantine, and write its companion.

    Raises:
        Full: it would exceed *limit* bytes.
        OSError: EAGAIN if another process keeps the lock; ENOSPC. Nothing is left behind.
    """
    with _locked(private, os.O_CREAT) as fd:
        used, counted = _read(fd)
        if used is None or used + entry.size_bytes > limit:
            used, counted = _count(root), _now()
        has_room = used + entry.size_bytes <= limit
        # Before the companion exists: after a crash in between the number is too high, never too low.
        _write(fd, used + entry.size_bytes if has_room else used, counted)
        if not has_room:
            raise Full
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        note = os.open(entry.from_name, flags, 0o600, dir_fd=private)
        try:
            text = text_of(owner, [file])
            if os.write(note, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except BaseException:
            os.unlink(entry.from_name, dir_fd=private)
            raise
        finally:
            os.close(note)


def read(private: int, entry: Entry) -> Note | None:
    """The note of a quarantined file; None if it is gone or damaged."""
    note = read_note(private, entry.from_name)
    return note if note is not None and note.files else None


def rewrite(private: int, entry: Entry, owner: Owner) -> None:
    """Give the companion of a file another *owner*. After a crash it has the old one or the new one."""
    note = read(private, entry)
    if note is None:
        return
    new_name = f"{entry.from_name}.new"
    fd = os.open(
        new_name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=private
    )
    try:
        text = text_of(owner, note.files)
        if os.write(fd, text) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(new_name, entry.from_name, src_dir_fd=private, dst_dir_fd=private)


def forget(private: int, entry: Entry) -> None:
    """Remove the companion of a file that has left the quarantine, and give its room back."""
    try:
        # Together, or somebody who counts the companions in between would give the room back a second time.
        with _locked(private) as fd:
            if not _remove(private, entry):
                return  # another process was faster
            used, counted = _read(fd)
            if used is not None and used > entry.size_bytes:
                _write(fd, used - entry.size_bytes, counted)
            else:
                os.unlink(ROOM, dir_fd=private)  # the quarantine is empty
    except FileNotFoundError:
        _remove(private, entry)
    except OSError as exc:  # it is counted again when the quarantine seems to be full
        _remove(private, entry)
        logger.info("the room in quarantine was not given back: %s", name_of(exc))


def _remove(private: int, entry: Entry) -> bool:
    """Remove the companion of *entry*. Returns False if it is gone."""
    try:
        os.unlink(entry.from_name, dir_fd=private)
    except FileNotFoundError:
        return False
    return True


def used_bytes(root: Root) -> int:
    """The bytes in quarantine, without waiting for the lock. After a crash it can be too high."""
    private = root.private.peek()
    if private < 0:
        return 0
    try:
        fd = os.open(ROOM, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=private)
    except FileNotFoundError:
        return _count(root)
    try:
        used, _ = _read(fd)
        return _count(root) if used is None else used
    finally:
        close(fd)


def count_again(root: Root, *, dry_run: bool) -> int:
    """The bytes in quarantine, counted within the last RECOUNT_SECONDS. A *dry_run* changes nothing."""
    private = root.private.peek()
    if private < 0 or dry_run:
        return _count(root) if private >= 0 else 0
    try:
        with _locked(private) as fd:
            used, counted = _read(fd)
            if used is None or abs(_now() - counted) > RECOUNT_SECONDS:
                used = _count(root)
                _write(fd, used, _now())
            return used
    except FileNotFoundError:
        return _count(root)


def _count(root: Root) -> int:
    sizes = (name.rsplit(".", 2)[-2] for name in root.private.names() if name.endswith(f".{FROM}"))
    return sum(int(size, 16) for size in sizes)


@contextmanager
def _locked(private: int, create: int = 0) -> Iterator[int]:
    fd = _lock(private, create)
    try:
        yield fd
    finally:
        unlock_and_close(fd)


def _lock(private: int, create: int) -> int:
    for _ in range(_TRIES):
        fd = os.open(ROOM, os.O_RDWR | create | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=private)
        is_ours = False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.fstat(fd).st_nlink > 0  # it was not removed before it was locked
            if is_ours:
                return fd
        except BlockingIOError:
            pass
        finally:
            if not is_ours:
                unlock_and_close(fd)
        time.sleep(_PAUSE_SECONDS)
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _read(fd: int) -> tuple[int | None, int]:
    """The bytes, None if unknown; and when they were counted."""
    used, _, counted = os.pread(fd, 64, 0).partition(b" ")
    try:
        return int(used), int(counted or 0)
    except ValueError:
        return None, 0


def _write(fd: int, used: int, counted: int) -> None:
    os.pwrite(fd, b"%020d %020d\n" % (used, counted), 0)


def _now() -> int:
    return int(time.time())
