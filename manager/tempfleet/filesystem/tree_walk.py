"""
Two walks through a directory tree: one is bounded and sees a part of a large tree, the other one sees every entry.

Neither follows a symlink or crosses a mount. Neither recurses, and each gives back every descriptor.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator, Iterator
from typing import Final, NamedTuple

from .descriptors import close
from .syscalls import System

MOST_ENTRIES: Final = 4096
"""How many entries of a tree are looked at. A decision about a larger tree is made on these."""

MOST_LEVELS: Final = 64
"""
How many levels of directories are looked into. Each directory is opened from the top. Without openat2 that takes one
call per level, and anybody can make a chain of thousands of directories: looking into it would take minutes.
"""

MOST_OPEN: Final = 8
"""How many levels ``every_entry`` keeps open at once. Each takes two descriptors."""

LONGEST_PATH: Final = 4095
"""Bytes of the longest path that Linux takes (PATH_MAX less the NUL): nothing below it can be named by a path."""

OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TooLarge(Exception):
    """The tree has more entries, or more levels, than the walk looks at."""


def _raise(exc: OSError) -> None:
    raise exc


def entries(
    top: int,
    system: System,
    *,
    most_entries: int = MOST_ENTRIES,
    most_levels: int = MOST_LEVELS,
    on_error: Callable[[OSError], None] = _raise,
) -> Iterator[tuple[int, os.DirEntry[str]]]:
    """
    Walk through the tree below the open directory *top*, without following a symlink or crossing a mount.

    Args:
        on_error: called if a directory cannot be opened; the walk goes on without it.

    Returns:
        Pairs of a directory, open until the next pair is asked for, and an entry in it.

    Raises:
        TooLarge: at the first entry beyond *most_entries*; or at the end, if a directory lay too deep to look into.
    """
    count, too_deep, waiting = 0, False, ["."]
    while waiting:
        path = waiting.pop()
        if path.count("/") > most_levels:
            too_deep = True
            continue
        try:
            directory = system.open_beneath(top, path, OPEN_DIRECTORY)
        except OSError as exc:
            on_error(exc)
            continue
        for entry in _entries_of(directory):
            count += 1
            if count > most_entries:
                raise TooLarge
            yield directory, entry
            if _is_directory(entry, on_error):
                waiting.append(f"{path}/{entry.name}")
    if too_deep:
        raise TooLarge


def _is_directory(entry: os.DirEntry[str], on_error: Callable[[OSError], None]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError as exc:  # only on a file system that lists names without their types
        on_error(exc)
        return False


def _entries_of(directory: int) -> Iterator[os.DirEntry[str]]:
    """The entries of an open directory, not read as a whole; closed after the last one, or when the caller stops."""
    try:
        with os.scandir(directory) as listing:
            yield from listing
    finally:
        close(directory)


class _Level(NamedTuple):
    """An open directory of ``every_entry``, its path from the top, and its entries that were not looked at yet."""

    fd: int
    path: str
    listing: Iterator[os.DirEntry[str]]
    end_listing: Callable[[], None]

    def close(self) -> None:
        self.end_listing()
        close(self.fd)


def every_entry(
    top: int, system: System, *, on_error: Callable[[OSError], None] = _raise
) -> Generator[tuple[str, os.DirEntry[str]]]:
    """
    Walk through the whole tree below the open directory *top*, however large it is. Entries so deep that their path
    from *top* is longer than LONGEST_PATH are not visited: nobody can register them.

    The memory does not grow with the number of entries, except with that of subdirectories more than MOST_OPEN levels
    down.

    Args:
        on_error: called if a directory cannot be opened; the walk goes on without it.

    Returns:
        Pairs of a path from *top*, which begins with a slash, and the entry.
    """
    levels: list[_Level] = []
    try:
        levels.append(_level(top, ".", "", system))
        while levels:
            here = levels[-1]
            for entry in here.listing:
                path = f"{here.path}/{entry.name}"
                yield path, entry
                if not _is_directory(entry, on_error):
                    continue
                if len(levels) >= MOST_OPEN:
                    yield from _deep_entries(here.fd, entry.name, here.path, system, on_error)
                    continue
                try:
                    levels.append(_level(here.fd, entry.name, path, system))
                except OSError as exc:
                    on_error(exc)
                    continue
                break
            else:
                levels.pop().close()
    finally:
        for level in levels:
            level.close()


def _level(fd: int, name: str, path: str, system: System) -> _Level:
    opened = system.open_beneath(fd, name, OPEN_DIRECTORY)
    try:
        listing = os.scandir(opened)
        return _Level(opened, path, listing, listing.close)
    except BaseException:
        close(opened)
        raise


class _Deep(NamedTuple):
    """A directory of ``_deep_entries``: which it is, its path from the top, and its directories not visited yet."""

    device_and_inode: tuple[int, int]
    path: str
    waiting: list[str]


def _deep_entries(
    anchor: int, name: str, above: str, system: System, on_error: Callable[[OSError], None]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """
    The entries below the directory *name* of *anchor*. One directory is open at a time. The way back up is "..", so
    the work does not grow with the depth.

    Raises:
        OSError: ESTALE if a directory was moved meanwhile, so that ".." is another one.
    """
    try:
        here = system.open_beneath(anchor, name, OPEN_DIRECTORY)
    except OSError as exc:
        on_error(exc)
        return
    levels: list[_Deep] = []
    path = f"{above}/{name}"
    try:
        while path:
            levels.append(_Deep(_device_and_inode(here), path, []))
            with os.scandir(here) as listing:
                for entry in listing:
                    yield f"{path}/{entry.name}", entry
                    if _is_directory(entry, on_error) and len(os.fsencode(entry.name)) < _left_of(path):
                        levels[-1].waiting.append(entry.name)
            path = ""
            while levels and not path:
                inner, path = _next(here, levels, system, on_error)
                close(here)
                here = inner
    finally:
        close(here)


def _next(
    here: int, levels: list[_Deep], system: System, on_error: Callable[[OSError], None]
) -> tuple[int, str]:
    """Opens the next directory below *here* and returns it with its path; if there is none, the one above, and ""."""
    while levels[-1].waiting:
        name = levels[-1].waiting.pop()
        try:
            return system.open_beneath(here, name, OPEN_DIRECTORY), f"{levels[-1].path}/{name}"
        except OSError as exc:
            on_error(exc)
    levels.pop()
    above = os.open("..", OPEN_DIRECTORY, dir_fd=here)
    if levels and _device_and_inode(above) != levels[-1].device_and_inode:
        close(above)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return above, ""


def _left_of(path: str) -> int:
    """The bytes that a name in the directory *path* may have."""
    return LONGEST_PATH - len(os.fsencode(path))


def _device_and_inode(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
