"""
The journal of a ``delete`` call: the files that it is about to move into a private directory, in case it dies.

A crash between a rename and the unlink leaves a file in the private directory under a digest. The next claim of the
record finds it there. But the record can be lost with Redis, or replaced by one of another file of that name. So each
call first writes its records into one small file for the whole batch, ``note.<token>.<random>``, and holds a lock on
it. If no process holds the lock, the writer is dead, and ``recovery`` looks after the files. If the journal cannot be
written (a full disk), deleting goes on without it, because freeing space comes first and the digest is still there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator, Sequence

from ..filesystem import NOTE, hide, name_of, unlock_and_close
from ..logs import logger
from ..records import FileRecord
from .note import Note, lines_of, read_open_note, text_of
from .promises import Owner

_JOURNAL = re.compile(rf"{NOTE}\.([0-9a-f]+)\.[0-9a-f]+")

_TRIES = 10
"""A recovery scan may remove a journal before it is locked. Ten scans at ten such instants are an attack."""


class Journal:
    """The journal of one batch in one private directory."""

    def __init__(self, private: int, token: int, owner: Owner, files: Sequence[FileRecord]) -> None:
        self._private = private
        self.is_whole = False
        self.name = ""
        self._fd = -1
        try:
            self._make(token)
            text = text_of(owner, files)
            self.is_whole = os.write(self._fd, text) == len(text)
        except OSError as exc:
            logger.info("deleting without a journal: %s", name_of(exc))
        except BaseException:
            self.close(keep=False)
            raise

    def _make(self, token: int) -> None:
        """Create and lock it. It is still there then, so from then on no scan takes it for that of a dead process."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        for _ in range(_TRIES):
            self.name = f"{NOTE}.{token:x}.{os.urandom(8).hex()}"
            self._fd = hide(os.open(self.name, flags, 0o600, dir_fd=self._private))
            fcntl.flock(self._fd, fcntl.LOCK_EX)  # a scan may hold it for an instant
            if os.fstat(self._fd).st_nlink:
                return
            unlock_and_close(self._fd)
            self._fd = -1
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def add(self, file: FileRecord) -> None:
        """Add a line that survives a power failure. The last line of a path counts."""
        line = os.fsencode(lines_of([file]))
        if os.write(self._fd, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(self._fd)

    def close(self, *, keep: bool) -> None:
        """Remove the journal, unless a file stays in the private directory (*keep*)."""
        if self._fd < 0:
            return
        try:
            if not keep:
                os.unlink(self.name, dir_fd=self._private)
        except FileNotFoundError:
            pass
        except OSError as exc:  # the disk became read-only; a scan will find none of its files
            logger.info("a journal that is not needed cannot be removed: %s", name_of(exc))
        finally:
            fd, self._fd = self._fd, -1
            unlock_and_close(fd)


def abandoned(private: int, names: Sequence[str]) -> Iterator[tuple[str, int, Note | None]]:
    """The journals among *names* that no living process has locked: name, token and contents. Locked meanwhile."""
    for name in names:
        match = _JOURNAL.fullmatch(name)
        if match is None:
            continue
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=private)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield name, int(match[1], 16), read_open_note(fd)
        except BlockingIOError:
            continue
        finally:
            unlock_and_close(fd)
