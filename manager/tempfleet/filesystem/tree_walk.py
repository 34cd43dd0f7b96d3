"""A bounded walk through a directory tree, and what is mounted in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from .syscalls import System

MOST_ENTRIES: Final = 4096
"""How many entries of a tree are looked at. A decision about a larger tree is made on these."""

MOST_LEVELS: Final = 64
"""
How many levels of directories are looked into. Each directory is opened from the top. Without openat2 that takes one
call per level, and anybody can make a chain of thousands of directories: looking into it would take minutes.
"""

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
        os.close(directory)


def has_mount(path: str) -> bool:
    """
    Whether something is mounted on *path* or below it. Without mountinfo this is False; then emptying the directory
    finds the mount.
    """
    encoded = os.fsencode(path)
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    points = (_unescape(line.split(b" ")[4]) for line in lines)
    return any(point == encoded or point.startswith(encoded + b"/") for point in points)


def _unescape(point: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), point)
