"""
The companions of the files in quarantine, and the room there.

A quarantined file outlives its batch, so it has a note of its own beside it: its path, identity and registry, and the
end of its quarantine. ``restore`` needs nothing else, also if Redis lost its data. The companion is written before the
file is moved there, and removed after the file has left. So the sum of the sizes in the companions' names is never less
than what lies in quarantine.

That sum is kept in the small file ``quarantine.bytes``, because listing a full quarantine for each batch is slow. It is
locked while it is read and written, so that cleaners that run at the same time do not exceed the limit together. After
a crash it is too high, never too low. So the companions are counted again before a file is refused.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..filesystem import FROM, Entry, Root, name_of
from ..logs import logger
from ..records import FileRecord
from .note import Note, read_note, text_of
from .promises import Owner

ROOM = "quarantine.bytes"
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
        used = _read(fd)
        if used is None or used + entry.size_bytes > limit:
            used = _count(root)
        fits = used + entry.size_bytes <= limit
        # Before the companion exists: after a crash in between the number is too high, never too low.
        _write(fd, used + entry.size_bytes if fits else used)
        if not fits:
            raise Full
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        note = os.open(entry.from_name, flags, 0o600, dir_fd=private)
        try:
            text = text_of(owner, [file])
            if os.write(note, text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.unlink(entry.from_name, dir_fd=private)
            raise
        finally:
            os.close(note)


def read(private: int, entry: Entry) -> Note | None:
    """The note of a quarantined file; None if it is gone or damaged."""
    note = read_note(private, entry.from_name)
    return note if note is not None and note.files else None


def forget(private: int, entry: Entry) -> None:
    """Remove the companion of a file that has left the quarantine, and give its room back."""
    try:
        os.unlink(entry.from_name, dir_fd=private)
    except FileNotFoundError:
        return  # another process was faster
    try:
        with _locked(private) as fd:
            used = _read(fd)
            if used is not None and used > entry.size_bytes:
                _write(fd, used - entry.size_bytes)
            else:
                os.unlink(ROOM, dir_fd=private)  # the quarantine is empty
    except FileNotFoundError:
        pass
    except OSError as exc:  # it is counted again when the quarantine seems to be full
        logger.info("the room in quarantine was not given back: %s", name_of(exc))


def used_bytes(root: Root) -> int:
    """The bytes in quarantine, without waiting for the lock; for dry runs."""
    private = root.private.peek()
    if private < 0:
        return 0
    try:
        fd = os.open(ROOM, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=private)
    except FileNotFoundError:
        return _count(root)
    try:
        used = _read(fd)
        return _count(root) if used is None else used
    finally:
        os.close(fd)


def _count(root: Root) -> int:
    sizes = (name.rsplit(".", 2)[-2] for name in root.private.names() if name.endswith(f".{FROM}"))
    return sum(int(size, 16) for size in sizes)


@contextmanager
def _locked(private: int, create: int = 0) -> Iterator[int]:
    fd = _lock(private, create)
    try:
        yield fd
    finally:
        os.close(fd)


def _lock(private: int, create: int) -> int:
    for _ in range(_TRIES):
        fd = os.open(ROOM, os.O_RDWR | create | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=private)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:  # it was not removed before it was locked
                return fd
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def _read(fd: int) -> int | None:
    try:
        return int(os.pread(fd, 32, 0))
    except ValueError:
        return None


def _write(fd: int, used: int) -> None:
    os.pwrite(fd, b"%020d\n" % used, 0)
