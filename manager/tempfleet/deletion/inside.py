"""
What is inside a directory that is about to be deleted, and whether it may go with it.

A directory is deleted with everything in it, but nothing in it may go early. So the whole tree is looked at, and the
registries are asked about each path in it, a thousand at a time. An obstacle keeps the directory: a file that is not
due or is held, another claim, a base directory, a private directory, a process that works there.

It is looked at twice: under its name, and again after the rename into the private directory. Since the rename no path
in it can be inspected, so nobody can register anything in it any more. ``manager.registration`` looks for a file once
more after registering it, because it may have inspected the file before the rename. The second time, the files that
are due are claimed, so that nobody can renew or hold them either.

A directory that has its name again after its destruction had begun is looked at anew: since then files can have been
registered in it. What is left of one in the private directory is not, because nobody can reach it there.
"""

from __future__ import annotations

import errno
from collections.abc import Generator, Sequence
from contextlib import closing

from ..filesystem import PREFIX, Mount, close, in_use, other_names, read_mounts, tree_walk
from ..records import Deletion, FileRecord, Obstacle, Way
from ..settings import MAX_BATCH
from .promises import PRIVATE, WORKING
from .session import Session, Stopped

_STEPS = 100
"""Entries between two looks at the clock."""

_CANNOT_ENTER = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.EXDEV,
        errno.ENAMETOOLONG,
    }
)
"""
A directory that cannot be opened for one of these reasons cannot be emptied either, so nothing in it can go. If this
user may not open it, nobody can tell what is registered in it, and the directory above it stays.
"""


def objection(
    record: FileRecord,
    fd: int,
    name: str,
    session: Session,
    way: Way,
    *,
    claim: bool = False,
    mounts: Sequence[Mount] | None = None,
) -> Deletion | None:
    """
    Why the directory *name* of directory *fd* has to stay; None if everything in it may go.

    Not called for what has the name of a begun entry. The flag "begun" alone proves nothing: the record gets it first.
    So after an error the directory may be whole, under its own name, and contain new files.

    Args:
        record: of the directory. Its path is the one that the paths in it are asked by.
        claim: see ``Promises.obstacle``.
        mounts: as they were read just now; None to read them.
    """
    if session.asks_in_use and not claim:
        used = in_use.first_below(record.path, session.working_directories)
        if used:
            return Deletion.blocked(record, way, Obstacle(used, WORKING))
    names = [("", record.path), *other_names(record.path, read_mounts() if mounts is None else mounts)]
    look = _Look(names, fd, name, session)
    try:
        with closing(look.pages()) as pages:
            obstacle = session.promises.obstacle(record, pages, claim=claim) or look.obstacle
    except Stopped:
        session.promises.cut_off(record)
        raise
    return None if obstacle is None else Deletion.blocked(record, way, obstacle)


class _Look:
    """
    One walk through a directory.

    Attributes:
        obstacle: what the disk alone shows to stand against its deletion; set when the pages end.
    """

    def __init__(self, names: Sequence[tuple[str, str]], fd: int, name: str, session: Session) -> None:
        """*names* are those of the directory, the first one its own, and of parts of it; see ``other_names``."""
        self.obstacle: Obstacle | None = None
        self._path = names[0][1]
        self._fd = fd
        self._name = name
        self._session = session
        self._names = names

    def pages(self) -> Generator[list[str]]:
        """All paths of the directory and of what is in it, under each of their names."""
        page = [other for inside, other in self._names if not inside]
        system = self._session.roots.system
        top = system.open_beneath(self._fd, self._name, tree_walk.OPEN_DIRECTORY)
        try:
            with closing(tree_walk.every_entry(top, system, on_error=_unless_closed)) as entries:
                for n, (path, entry) in enumerate(entries):
                    if n % _STEPS == 0:
                        self._session.go_on()
                    if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                        self.obstacle = Obstacle(self._path + path, PRIVATE)
                        break
                    page += self._names_of(path)
                    if len(page) > MAX_BATCH - len(self._names):
                        yield page
                        page = []
            yield page
        finally:
            close(top)

    def _names_of(self, path: str) -> list[str]:
        """The paths of the entry *path*, which begins with a slash."""
        if len(self._names) == 1:
            return [self._path + path]
        return [
            other + path[len(inside) :]
            for inside, other in self._names
            if path.startswith(inside) and path[len(inside) : len(inside) + 1] in ("", "/")
        ]


def _unless_closed(exc: OSError) -> None:
    if exc.errno not in _CANNOT_ENTER:
        raise exc
