"""The space that deleting a file would free, and when it was last used. Only directories are opened."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from ..filesystem import Root, close, tree_walk
from ..records import FileRecord
from .session import Session

_BLOCK = 512


@dataclass(slots=True)
class Footprint:
    """
    Attributes:
        size_bytes: the blocks that would be free.
        files: the inodes that would be free.
        used_ms: when it was last read or written, as far as the file system records that (with relatime it records
            reads once a day, with noatime never).
    """

    size_bytes: int = 0
    files: int = 0
    used_ms: int = 0

    def add(self, stat_result: os.stat_result) -> None:
        directory = stat.S_ISDIR(stat_result.st_mode)
        if directory or stat_result.st_nlink == 1:
            self.size_bytes += stat_result.st_blocks * _BLOCK
            self.files += 1
        # listing a directory reads it, but does not use the files in it
        used_ns = (
            stat_result.st_mtime_ns if directory else max(stat_result.st_atime_ns, stat_result.st_mtime_ns)
        )
        self.used_ms = max(self.used_ms, used_ns // 1_000_000)


def footprint_of(record: FileRecord, root: Root, session: Session) -> Footprint | None:
    """
    The footprint of the file that has the name of *record* now; None if it cannot be seen.

    The walk through a directory is bounded (``tree_walk``). A larger tree occupies at least what is returned.
    """
    footprint = Footprint()
    try:
        fd = session.parent(root, record.path)
        name = record.path[record.path.rindex("/") + 1 :]
        stat_result = os.stat(name, dir_fd=fd, follow_symlinks=False)
        footprint.add(stat_result)
        if record.is_directory and stat.S_ISDIR(stat_result.st_mode):
            _add_tree(footprint, fd, name, session)
    except OSError:
        return None
    return footprint


def _add_tree(footprint: Footprint, fd: int, name: str, session: Session) -> None:
    system = session.roots.system
    top = system.open_beneath(fd, name, tree_walk.OPEN_DIRECTORY)
    try:
        for _, entry in tree_walk.entries(top, system):
            footprint.add(entry.stat(follow_symlinks=False))
    except tree_walk.TooLarge:
        pass
    finally:
        close(top)
