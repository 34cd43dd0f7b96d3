"""One directory below which files may be deleted, and how it is checked and opened."""

from __future__ import annotations

import os
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..errors import SettingsError, VolumeUnavailable
from ..logs import printable
from ..settings import Settings
from .bounded import NOT_ANSWERING, Bounded, bounded_at
from .descriptors import close
from .errnos import name_of
from .file_systems import WriteLocks
from .private_directory import PrivateDirectory
from .root_rules import is_shared, refuse_foreign_links, refuse_foreign_owner, refuse_wide
from .syscalls import DIRECTORY_FLAGS, System

BASE_MODE = 0o700


@dataclass(slots=True, eq=False)
class Root:
    """
    One directory below which files may be deleted.

    Attributes:
        path: resolved. Every managed path below it starts with ``prefix``.
        fd: the directory itself; -1 after close.
        trusted: no other user but its owner may write to it.
        owner: the uid of the directory's owner.
        is_foreign: its owner is neither root nor this user, so this is root. The owner can rename everything in it.
        handles: whether its file system has file handles that last.
        is_overlay: see overlay.py.
        write_locks: which processes that have a file open a write lock shows.
        calls: makes calls on its file system, which may not answer.
    """

    path: str
    fd: int
    device: int
    ino: int
    mount: int
    trusted: bool
    owner: int
    handles: bool
    is_overlay: bool
    write_locks: WriteLocks
    calls: Bounded
    is_foreign: bool = field(init=False)
    prefix: str = field(init=False)
    private: PrivateDirectory = field(init=False)

    def __post_init__(self) -> None:
        self.is_foreign = self.owner not in (0, os.geteuid())
        self.prefix = self.path + "/"
        self.private = PrivateDirectory(self.fd, self.prefix)

    def keeps_names_of(self, uid: int) -> bool:
        """Whether only user *uid* and root can rename what that user creates directly in it."""
        return not self.is_foreign or self.owner == uid

    def moved(self) -> str:
        """Returns why this is not the directory at its path any more; "" while it is."""
        if self.fd < 0:
            return "closed"
        try:
            return self.calls.ask(self.look)
        except VolumeUnavailable:
            return NOT_ANSWERING

    def look(self) -> str:
        """As ``moved``, without a limit of time."""
        try:
            if self.calls.may_hang:
                # Its server has to answer this. A kernel may answer stat from its cache.
                os.fstatvfs(self.fd)
            status = os.stat(self.path)
        except OSError as exc:
            return name_of(exc)
        return "" if (status.st_dev, status.st_ino) == (self.device, self.ino) else "replaced"

    def close(self) -> None:
        """
        Descriptors that a call uses which has not returned stay open. Otherwise it could go on in another directory
        that got their numbers.
        """
        if self.fd >= 0 and not self.calls.hangs():
            self.private.close()
            close(self.fd)
        self.fd = -1


def open_base(system: System, path: str, settings: Settings, *, create: bool) -> Root:
    refuse_foreign_links(path, settings)
    resolved = os.path.realpath(path)
    refuse_wide(resolved, settings)
    if create:
        _create(resolved)
    try:
        return _open_root(system, resolved, settings, None)
    except FileNotFoundError:
        raise VolumeUnavailable(
            f"{printable(resolved)} is missing; {VolumeUnavailable.__doc__}", base_dir=path, reason="ENOENT"
        ) from None


class Unavailable(NamedTuple):
    """An allowed root that this host does not have."""

    path: str
    reason: str


def open_other(
    system: System, path: str, settings: Settings, base_fd: int, opened: Container[str]
) -> Root | Unavailable | None:
    """Returns None if the root is among the *opened* ones, by another name."""
    resolved = os.path.realpath(path)
    if resolved in opened:
        return None
    try:
        refuse_foreign_links(path, settings)
        return _open_root(system, resolved, settings, base_fd)
    except OSError as exc:
        return Unavailable(resolved, name_of(exc))
    except SettingsError as exc:
        if path in settings.allowed_roots:
            raise
        return Unavailable(resolved, str(exc))  # the system's temp directory, which no setting names


def close_if_open(root: Root | Unavailable | None) -> None:
    if isinstance(root, Root):
        root.close()


def _create(path: str) -> None:
    """Like mkdir -p. The last directory is private; created parents have the usual mode."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mkdir(path, BASE_MODE)
    except FileExistsError:
        pass


def _open_root(system: System, path: str, settings: Settings, base_fd: int | None) -> Root:
    refuse_wide(path, settings)
    fd = os.open(path, DIRECTORY_FLAGS)
    try:
        status = os.fstat(fd)
        refuse_foreign_owner(path, status, settings, base_fd)
        return Root(
            path=path,
            fd=fd,
            device=status.st_dev,
            ino=status.st_ino,
            mount=system.mount_id(fd),
            trusted=not is_shared(status),
            owner=status.st_uid,
            handles=system.has_lasting_handles(fd),
            is_overlay=system.is_overlay(fd),
            write_locks=system.write_locks(fd),
            calls=_calls_on(path, system),
        )
    except BaseException:
        close(fd)
        raise


def _calls_on(path: str, system: System) -> Bounded:
    calls = bounded_at(path)
    calls.may_hang = system.may_hang(path)
    return calls
