"""
Which files an object registered itself, and when: what the end of a block or of the process may delete.
"""

from __future__ import annotations

import os
from collections import OrderedDict

MOST_RECENT = 10_000
"""Registrations that an object remembers outside of blocks: about 2 MB."""


class OwnFiles:
    """
    The files that one object registered, with ``registered_ms`` of the last registration, and with the process that
    registered them: a forked child owns only its own.

    Args:
        most: only so many files are remembered, those that were registered last; None for all.
    """

    def __init__(self, most: int | None = None) -> None:
        self._files: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._most = most

    def add(self, path: str, registered_ms: int) -> None:
        self._files[path] = (os.getpid(), registered_ms)
        self._files.move_to_end(path)
        if self._most is not None and len(self._files) > self._most:
            self._files.popitem(last=False)

    def update(self, other: OwnFiles) -> None:
        """Add the files of *other*."""
        self._files.update(other._files)

    def __len__(self) -> int:
        return len(self._files)

    def forget(self, path: str) -> None:
        self._files.pop(path, None)

    def registered_ms(self, path: str) -> int | None:
        """None if this process did not register it here."""
        process, registered_ms = self._files.get(path, (0, 0))
        return registered_ms if process == os.getpid() else None

    def take(self) -> dict[str, int]:
        """Forget all files; returns path -> registered_ms of those that this process registered."""
        files, self._files = self._files, OrderedDict()
        return {path: ms for path, (process, ms) in files.items() if process == os.getpid()}
