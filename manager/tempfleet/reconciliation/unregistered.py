"""
Finds files of a base directory that have no record, so that a person can decide what to do with them.

They remain after Redis lost its last second or all of its data, after the restore of an older Redis, and from programs
that write here without registering. Such a file may belong to any program, so no file is adopted automatically. Files
that changed recently are left out, because their users may be about to register them.

The search is one walk below the base directory. It follows no link and crosses no mount. It asks the registry about a
thousand entries at a time, so its memory and its round trips do not grow with the number of files of one directory.

Not searched: directories that are registered as a whole, our private directories, the directory of an embedded Redis,
and the base directories of other volumes of this host. Our own logs are left out too, because an adopted log would be
deleted at its deadline.
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
    A file or directory without a record.

    Attributes:
        idle_seconds: the time since its content, its name or its rights changed, by the clock of this host.
    """

    path: str
    is_directory: bool
    size_bytes: int
    idle_seconds: float


class UnregisteredFiles:
    """The files without a record in one volume; changes nothing."""

    def __init__(self, registry: Registry, roots: Roots) -> None:
        self.registry = registry
        self.roots = roots

    def pages(self, *, idle_seconds: float) -> Iterator[list[UnregisteredFile]]:
        """
        Yields the regular files without a record that have not changed for *idle_seconds*, in pages.

        A directory that cannot be read is left out with a warning.
        """
        base = self.roots.base.path
        volumes = Fleet(self.registry.store).volumes(host=self.registry.volume.host)
        excluded = {
            volume.base_dir for volume in volumes if volume != Volume(self.registry.volume.host, base)
        }
        excluded |= _embedded_directories(self.roots.settings)
        logs = _log_paths(self.roots.settings)
        if base in excluded:
            logger.warning(
                "Did not look for files in %s, because it is the directory of the embedded Redis",
                printable(base),
            )
        directories = [base] if base not in excluded else []
        while directories:
            entries = self._walk(directories)
            while page := list(islice(entries, MAX_BATCH)):
                _, records = self.registry.read([entry.path for entry in page])
                unregistered = [entry for entry, record in zip(page, records, strict=True) if record is None]
                directories += [
                    entry.path for entry in unregistered if entry.is_directory and entry.path not in excluded
                ]
                files = [e for e in unregistered if not e.is_directory and e.idle_seconds >= idle_seconds]
                if files := [file for file in files if not file.path.startswith(logs)]:
                    yield files

    def _walk(self, directories: list[str]) -> Iterator[UnregisteredFile]:
        """Yields the entries of *directories*, also of directories that are appended meanwhile."""
        while directories:
            directory = directories.pop()
            try:
                yield from self._entries(directory)
            except FileNotFoundError:
                continue
            except OSError as exc:
                logger.warning("Did not look for files in %s: %s", printable(directory), exc.strerror)

    def _entries(self, directory: str) -> Iterator[UnregisteredFile]:
        base = self.roots.base
        fd = self.roots.system.open_beneath(base.fd, directory[len(base.prefix) :] or ".", _OPEN)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if is_private_name(entry.name):
                        continue
                    if (file := _file_of(directory, entry)) is not None:
                        yield file
        finally:
            os.close(fd)


def _embedded_directories(settings: Settings) -> set[str]:
    urls = (settings.redis_url, settings.effective_broker_url)
    return {os.path.realpath(directory_of(url)) for url in urls if is_embedded(url)}


def _log_paths(settings: Settings) -> tuple[str, ...]:
    """The paths of our logs. Rotated logs begin with the same path."""
    return tuple(os.path.realpath(path) for path in (settings.audit_log, settings.log_file) if path)


def _file_of(directory: str, entry: os.DirEntry[str]) -> UnregisteredFile | None:
    """Returns None if the entry is neither a regular file nor a directory, or no longer exists."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return None
    idle = max(time.time() - max(status.st_mtime, status.st_ctime), 0.0)
    return UnregisteredFile(f"{directory}/{entry.name}", stat.S_ISDIR(status.st_mode), status.st_size, idle)
