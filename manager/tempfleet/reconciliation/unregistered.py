"""
Finds files of a base directory that have no record, so that a person can decide what to do with them.

They remain after Redis lost its last second or all of its data, after the restore of an older Redis, and from programs
that write here without registering. Such a file may belong to any program, so no file is adopted automatically. Files
that changed recently are left out, because their users may be about to register them.

Root could register the files of all users. It finds those of the base directory's owner, unless another owner is named.

The search is one walk below the base directory. It follows no link and crosses no mount. It asks the registry about a
thousand entries at a time, so its memory and its round trips do not grow with the number of files of one directory.

Not searched: directories that are registered as a whole, our private directories, the directory of an embedded Redis,
and the base directories of other volumes of this host. Our own logs are left out too, because an adopted log would be
deleted at its deadline.
"""

from __future__ import annotations

import os
import pwd
import stat
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

from ..embedded import directory_of, is_embedded
from ..errors import InvalidOwner
from ..filesystem import Roots, close, is_private_name
from ..logs import logger, printable
from ..registry import Fleet, Registry, Volume
from ..settings import MAX_BATCH, Settings

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UnregisteredFile(NamedTuple):
    """
    A file or directory without a record.

    Attributes:
        size_bytes, idle_seconds, uid: of a file; 0 for a directory. The time is that since its content, its name or
            its rights changed, by the clock of this host.
    """

    path: str
    is_directory: bool
    size_bytes: int
    idle_seconds: float
    uid: int


ANY_OWNER = "any"


def uid_of(owner: str | int | None, roots: Roots) -> int | None:
    """
    Returns the uid of *owner*: a user's name, a uid or ANY_OWNER (then None).

    Without an owner it is this user, because it may register no other files. For root it is the base directory's owner.

    Raises:
        InvalidOwner: no user has that name, or the uid is negative.
    """
    if owner is None:
        return os.geteuid() or roots.base.calls.ask(partial(_owner_of_base, roots))
    if owner == ANY_OWNER:
        return None
    try:
        return pwd.getpwnam(str(owner)).pw_uid
    except (KeyError, ValueError):
        if str(owner).isdecimal():
            return int(owner)
    raise InvalidOwner(f"{printable(str(owner))} is not a user. {InvalidOwner.__doc__}", value=owner)


def _owner_of_base(roots: Roots) -> int:
    with roots.use():
        return os.fstat(roots.base.fd).st_uid


class UnregisteredFiles:
    """The files without a record in one volume; changes nothing."""

    def __init__(self, registry: Registry, roots: Roots) -> None:
        self.registry = registry
        self.roots = roots

    def pages(self, *, idle_seconds: float, uid: int | None) -> Iterator[list[UnregisteredFile]]:
        """
        Yields the regular files without a record that have not changed for *idle_seconds*, in pages.

        Args:
            uid: only the files of this user; None for all. A warning has the number of the others.

        A directory that cannot be read is left out with a warning.
        """
        others = 0
        for page in self._pages_of_all():
            files = [file for file in page if file.idle_seconds >= idle_seconds]
            if owned := [file for file in files if uid in (None, file.uid)]:
                yield owned
            others += len(files) - len(owned)
        if others:
            base = printable(self.roots.base.path)
            logger.warning(
                "Left out %d unregistered files in %s that do not belong to uid %d", others, base, uid
            )

    def _pages_of_all(self) -> Iterator[list[UnregisteredFile]]:
        base, excluded = self.roots.base.path, self._excluded()
        logs = _log_paths(self.roots.settings)
        if base in excluded:
            logger.warning(
                "Did not look for files in %s, because it is the directory of the embedded Redis",
                printable(base),
            )
        directories = [base] if base not in excluded else []
        while directories:
            entries = self._walk(directories)
            while page := self._next_page(entries):
                _, records = self.registry.read([entry.path for entry in page])
                unregistered = [entry for entry, record in zip(page, records, strict=True) if record is None]
                directories += [
                    entry.path for entry in unregistered if entry.is_directory and entry.path not in excluded
                ]
                yield [e for e in unregistered if not e.is_directory and not e.path.startswith(logs)]

    def _next_page(self, entries: Iterator[UnregisteredFile]) -> list[UnregisteredFile]:
        return self.roots.base.calls.run(lambda: list(islice(entries, MAX_BATCH)))

    def _excluded(self) -> set[str]:
        """The directories that are not searched."""
        own = Volume(self.registry.volume.host, self.roots.base.path)
        volumes = Fleet(self.registry.store).volumes(host=own.host)
        others = {volume.base_dir for volume in volumes if volume != own}
        return others | _embedded_directories(self.roots.settings)

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
        with self.roots.use():
            fd = self.roots.system.open_beneath(base.fd, directory[len(base.prefix) :] or ".", _OPEN)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if is_private_name(entry.name):
                        continue
                    if (file := _file_of(directory, entry)) is not None:
                        yield file
        finally:
            close(fd)


def _embedded_directories(settings: Settings) -> set[str]:
    urls = (settings.redis_url, settings.effective_broker_url)
    return {os.path.realpath(directory_of(url)) for url in urls if is_embedded(url)}


def _log_paths(settings: Settings) -> tuple[str, ...]:
    """The paths of our logs. Rotated logs begin with the same path."""
    return tuple(os.path.realpath(path) for path in (settings.audit_log, settings.log_file) if path)


def _file_of(directory: str, entry: os.DirEntry[str]) -> UnregisteredFile | None:
    """Returns None if the entry is neither a regular file nor a directory, or no longer exists."""
    path = f"{directory}/{entry.name}"
    try:
        if entry.is_dir(follow_symlinks=False):
            # Its status is not needed. On a directory with a mount that hangs, reading it would not return.
            return UnregisteredFile(path, True, 0, 0.0, 0)
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    idle = max(time.time() - max(status.st_mtime, status.st_ctime), 0.0)
    return UnregisteredFile(path, False, status.st_size, idle, status.st_uid)
