"""
Remove directories that became empty by deleting (``TEMP_FILE_REMOVE_EMPTY_PARENTS``).

Only ``rmdir`` is called, which removes nothing but an empty directory, so nothing can be lost. Parents are opened
beneath the base directory, without following a link or crossing a mount.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from functools import partial

from ..errors import VolumeUnavailable
from ..filesystem import DIRECTORY_FLAGS, Roots, is_private_name, name_of
from ..logs import logger, printable

_STAYS = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EBUSY, errno.ELOOP, errno.EXDEV)
"""The directory is in use, or gone, or not a directory any more."""


def parents_of(path: str, roots: Roots) -> Iterator[str]:
    """The directories between the file *path* and the base directory, deepest first; without the private directory."""
    base = roots.base
    while path.startswith(base.prefix):
        path = path.rpartition("/")[0]
        if path.startswith(base.prefix) and not is_private_name(path[len(base.prefix) :].partition("/")[0]):
            yield path


def remove_empty(paths: Iterable[str], roots: Roots) -> list[str]:
    """Remove the empty directories among *paths*, all below the base directory. Returns the removed ones."""
    base, removed = roots.base, []
    for path in sorted(paths, key=len, reverse=True):
        parent, _, name = path[len(base.prefix) :].rpartition("/")
        try:
            base.calls.ask(partial(_remove, roots, parent, name))
        except VolumeUnavailable:
            break  # they stay
        except OSError as exc:
            if exc.errno not in _STAYS:
                logger.info("The empty directory %s stays: %s", printable(path), name_of(exc))
            continue
        removed.append(path)
    return removed


def _remove(roots: Roots, parent: str, name: str) -> None:
    fd = roots.system.open_beneath(roots.base.fd, parent or ".", DIRECTORY_FLAGS)
    try:
        os.rmdir(name, dir_fd=fd)
    finally:
        os.close(fd)
