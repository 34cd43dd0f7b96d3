"""
What one ``delete`` call keeps from record to record: open directories and buffers, used by its thread alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType

from .roots import Root, Roots
from .syscalls import DIRECTORY_FLAGS

_OPEN_DIRECTORIES = 32
"""
Records of one directory mostly come together; four threads with more would be a burden on the file table.
"""


class Session:
    """
    One ``delete`` call.

    A directory that was looked up without following a symlink stays open for the next record in it. That is
    no weaker than looking it up again: whatever is renamed meanwhile, each object is compared before it is
    unlinked.
    """

    def __init__(self, roots: Roots, token: int, may_go_on: Callable[[], bool]) -> None:
        self.roots = roots
        self.token = token
        self.may_go_on = may_go_on
        self.reader = roots.system.reader()
        self._parents: dict[str, int] = {}
        self._moved: dict[str, str] = {}

    def moved(self, root: Root) -> str:
        """Why *root* is not what was opened; looked at once per session."""
        if root.path not in self._moved:
            self._moved[root.path] = root.moved()
        return self._moved[root.path]

    def parent(self, root: Root, path: str) -> int:
        """The directory that holds *path*, a descriptor that this session closes."""
        at = path[: path.rindex("/")]
        if len(at) < len(root.prefix):
            return root.fd
        fd = self._parents.get(at)
        if fd is None:
            if len(self._parents) >= _OPEN_DIRECTORIES:
                self.close()
            fd = self.roots.system.open_beneath(root.fd, at[len(root.prefix) :], DIRECTORY_FLAGS)
            self._parents[at] = fd
        return fd

    def close(self) -> None:
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
