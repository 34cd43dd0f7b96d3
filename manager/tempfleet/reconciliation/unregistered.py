"""
Files of a base directory that nobody registered: found, for a person to decide.

They are left by a Redis that lost its last second or all it had, by the restore of an older one, by programs that write
here and never register. An unknown file may be anybody's, so nothing is adopted by itself, and what changed a short
while ago is left alone: its user may be about to register it.

Looking is one walk, beneath the base directory, without following a link or crossing a mount. It asks the registry
about a thousand entries at a time, so neither its memory nor its round trips grow with the files of one directory.
What is registered as a whole directory is not entered; nor are our own private directories, the one of an embedded
Redis, and the base directories of other volumes of this host. Our logs are not found either: adopted, the registry
itself would be deleted in time.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from ..embedded import directory_of, is_embedded
from ..filesystem import Roots, is_private_name
from ..logs import logger, printable
from ..registry import Fleet, Registry, Volume
from ..settings import MAX_BATCH, Settings

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UnregisteredFile(NamedTuple):
    """
    A file or directory that was come upon.

    Attributes:
        idle_seconds: since its content, its name or its rights last changed, by this host's clock.
    """

    path: str
    is_directory: bool
    size_bytes: int
    idle_seconds: float


class Finder:
    """Finds what nobody registered in one volume; changes nothing."""

    def __init__(self, registry: Registry, roots: Roots) -> None:
        self.registry = registry
        self.roots = roots

    def unregistered(self, *, idle_seconds: float) -> Iterator[list[UnregisteredFile]]:
        """
        The regular files that nobody registered and that changed last at least *idle_seconds* ago, in pages.

        A directory that cannot be read is left out with a warning.
        """
        base = self.roots.base.path
        volumes = Fleet(self.registry.store).volumes(host=self.registry.volume.host)
        others = {volume.base_dir for volume in volumes if volume != Volume(self.registry.volume.host, base)}
        others |= _embedded(self.roots.settings)
        logs = _logs(self.roots.settings)
        if base in others:
            logger.warning(
                "Did not look for files in %s: the embedded Redis has its own there", printable(base)
            )
        waiting = [base] if base not in others else []
        while waiting:
            entries = self._walk(waiting)
            while page := list(islice(entries, MAX_BATCH)):
                _, records = self.registry.read([entry.path for entry in page])
                unknown = [entry for entry, record in zip(page, records, strict=True) if record is None]
                waiting += [e.path for e in unknown if e.is_directory and e.path not in others]
                files = [e for e in unknown if not e.is_directory and e.idle_seconds >= idle_seconds]
                if files := [e for e in files if not e.path.startswith(logs)]:
                    yield files

    def _walk(self, waiting: list[str]) -> Iterator[UnregisteredFile]:
        """What is in the directories that wait, also those that come to wait meanwhile."""
        while waiting:
            at = waiting.pop()
            try:
                yield from self._entries(at)
            except FileNotFoundError:
                continue
            except OSError as exc:
                logger.warning("Did not look for files in %s: %s", printable(at), exc.strerror)

    def _entries(self, at: str) -> Iterator[UnregisteredFile]:
        base = self.roots.base
        fd = self.roots.system.open_beneath(base.fd, at[len(base.prefix) :] or ".", _OPEN)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if not is_private_name(entry.name) and (found := _found(at, entry)) is not None:
                        yield found
        finally:
            os.close(fd)


def _embedded(settings: Settings) -> set[str]:
    urls = (settings.redis_url, settings.effective_broker_url)
    return {os.path.realpath(directory_of(url)) for url in urls if is_embedded(url)}


def _logs(settings: Settings) -> tuple[str, ...]:
    """What their paths begin with, turned over or not."""
    return tuple(os.path.realpath(path) for path in (settings.audit_log, settings.log_file) if path)


def _found(at: str, entry: os.DirEntry[str]) -> UnregisteredFile | None:
    """None for what is never managed, and for what is gone."""
    try:
        seen = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not (stat.S_ISREG(seen.st_mode) or stat.S_ISDIR(seen.st_mode)):
        return None
    idle = max(time.time() - max(seen.st_mtime, seen.st_ctime), 0.0)
    return UnregisteredFile(f"{at}/{entry.name}", stat.S_ISDIR(seen.st_mode), seen.st_size, idle)
