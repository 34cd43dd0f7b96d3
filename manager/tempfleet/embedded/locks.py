"""A file lock: the kernel releases it when the last process that has the file open ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

POLL_SECONDS = 0.005


class FileLock:
    """
    ``flock`` on *path*, which is created if it does not exist.

    The lock belongs to the open file: a forked child shares it, a new program only if it inherits the descriptor.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def acquire(self, *, shared: bool = False, timeout: float = 0) -> bool:
        """Returns whether the lock was acquired within *timeout* seconds."""
        deadline = time.monotonic() + timeout
        while not self._try(fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def release(self) -> None:
        """Unlock for every process that shares this open file."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; processes that inherited the descriptor still hold the lock."""
        os.close(self.fd)

    def is_in_place(self) -> bool:
        """Whether *path* is still the opened file: the locks of a removed directory are gone with it."""
        try:
            return os.path.samestat(os.fstat(self.fd), os.stat(self.path))
        except OSError:
            return False

    def _try(self, mode: int) -> bool:
        try:
            fcntl.flock(self.fd, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self.close()


def is_locked(path: Path) -> bool:
    """Whether a process holds *path* now, exclusively or shared."""
    with FileLock(path) as lock:
        return not lock.acquire()
