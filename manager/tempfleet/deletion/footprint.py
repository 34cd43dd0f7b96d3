"""What the disk would get back if a file went, and when it was last used; nothing is opened but directories."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from ..filesystem import Root, tree_walk
from ..records import FileRecord
from .session import Session

_BLOCK = 512


@dataclass(slots=True)
class Footprint:
    """
    Attributes:
        size_bytes: the blocks that would be free.
        files: the inodes that would be free.
        used_ms: the last reading or writing that the file system remembers (it may remember readings for a day
            only, or not at all: relatime, noatime).
    """

    size_bytes: int = 0
    files: int = 0
    used_ms: int = 0

    def add(self, found: os.stat_result) -> None:
        directory = stat.S_ISDIR(found.st_mode)
        if directory or found.st_nlink == 1:
            self.size_bytes += found.st_blocks * _BLOCK
            self.files += 1
        # who lists a directory reads it: that is no use of what is in it
        used_ns = found.st_mtime_ns if directory else max(found.st_atime_ns, found.st_mtime_ns)
        self.used_ms = max(self.used_ms, used_ns // 1_000_000)


def footprint_of(record: FileRecord, root: Root, session: Session) -> Footprint | None:
    """
    The weight of what has the name of *record* now; None where that cannot be seen.

    Of a directory only the first few thousand entries are weighed, and none very deep: a larger one weighs at least so
    much.
    """
    weight = Footprint()
    try:
        fd = session.parent(root, record.path)
        name = record.path[record.path.rindex("/") + 1 :]
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        weight.add(found)
        if record.is_directory and stat.S_ISDIR(found.st_mode):
            _add_tree(weight, fd, name, session)
    except OSError:
        return None
    return weight


def _add_tree(weight: Footprint, fd: int, name: str, session: Session) -> None:
    system = session.roots.system
    top = system.open_beneath(fd, name, tree_walk.OPEN_DIRECTORY)
    try:
        for _, entry in tree_walk.entries(top, system):
            weight.add(entry.stat(follow_symlinks=False))
    except tree_walk.TooLarge:
        pass
    finally:
        os.close(top)
