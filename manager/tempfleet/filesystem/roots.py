"""
The directories below which files may be deleted. They are resolved once and kept open.

A person names a root in the settings, so its path is trusted once, at start. Everything below it may be controlled by
strangers. The open descriptor stays the directory that was checked, whatever is renamed or mounted later. ``check``
reports if the path leads to another directory now.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from ..errors import SettingsError, UnsafePath, VolumeUnavailable
from ..logs import logger, printable
from ..settings import Settings
from .descriptors import close
from .elsewhere import NOTHING_ELSEWHERE
from .errnos import name_of
from .file_systems import WriteLocks
from .paths import WHY, unsafe
from .private_directory import PrivateDirectory
from .root_rules import is_shared, refuse_foreign_links, refuse_foreign_owner, refuse_wide
from .syscalls import DIRECTORY_FLAGS, System
from .users import Shared

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
            status = os.stat(self.path)
        except OSError as exc:
            return name_of(exc)
        return "" if (status.st_dev, status.st_ino) == (self.device, self.ino) else "replaced"


class Roots(Shared):
    """
    The roots of one volume: its base directory and the other directories that the settings allow.

    Usable after a fork, and by several threads. ``close`` may be called twice, and while other threads use the roots:
    the descriptors are closed when the last user has left (see ``use``).

    Attributes:
        unavailable: path -> reason, of the allowed roots that this host does not have. This is not an error: their
            records wait.
        elsewhere: what the registry knows of the disks of its roots; see reconciliation/root_disks.py.
    """

    def __init__(
        self, base: Root, others: list[Root], unavailable: dict[str, str], settings: Settings, system: System
    ) -> None:
        super().__init__()
        self.base = base
        self.unavailable = unavailable
        self.elsewhere = NOTHING_ELSEWHERE
        self.settings = settings
        self.system = system
        self._all = sorted([base, *others], key=lambda root: len(root.path), reverse=True)
        self._never = {
            str(path) for root in self._all for path in (Path(root.path), *Path(root.path).parents)
        }

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        base_dir: str | None = None,
        create: bool = True,
        system: System | None = None,
    ) -> Roots:
        """
        Check and open the base directory and the allowed roots.

        Args:
            base_dir: replaces the one of the settings.
            create: create a missing base directory (0700), with its parents.

        Raises:
            SettingsError: a directory that may not be a root; the message contains the reason.
            VolumeUnavailable: the base directory is missing, and *create* is False.
            OSError: the base directory could not be created or opened.
        """
        system = system or System()
        path = str(Path(base_dir or settings.base_dir).absolute())
        base = _open_base(system, path, settings, create=create)
        others: list[Root] = []
        try:
            unavailable = _open_others(system, base, others, settings)
        except BaseException:
            for root in (base, *others):
                close(root.fd)
            raise
        for missing, reason in unavailable.items():
            logger.warning("root %s is not available: %s", printable(missing), reason)
        return cls(base, others, unavailable, settings, system)

    def __iter__(self) -> Iterator[Root]:
        return iter(self._all)

    def find(self, path: str) -> Root | None:
        """Returns the longest root above *path*; None for a root itself and for paths outside all roots."""
        for root in self._all:
            if path.startswith(root.prefix):
                if self.unavailable and self.is_unavailable(path, below=root.path):
                    return None
                if self.elsewhere.reasons and self.elsewhere.reason_of(path):
                    return None
                return None if path in self._never else root
        return None

    def outside(self, path: str, *, action: str = "managed") -> UnsafePath:
        """The error for a path outside all roots. It lists them, so that a person need not look them up."""
        names = dict.fromkeys((self.base.path, *(root.path for root in self._all)))
        why = f"{WHY['outside-roots']}: {', '.join(map(printable, names))}"
        return unsafe(path, "outside-roots", why, action=action)

    def holds_a_root(self, path: str) -> bool:
        """Whether *path* is a root or has one below it. Such a directory is never deleted."""
        return path in self._never

    def is_unavailable(self, path: str, *, below: str = "") -> str:
        """
        Returns the reason if *path* is below a root that this host does not have, or that is another directory here;
        else "".

        Args:
            below: count only missing roots below this root, because there they look like missing directories.
        """
        for missing, reason in self.unavailable.items():
            if path.startswith(missing + "/") and len(missing) > len(below):
                return reason
        return self.elsewhere.reason_of(path)

    def check(self) -> dict[str, str]:
        """
        Returns path -> reason, of the roots that are not the opened directories any more (moved, unmounted), or not
        those that files were registered in.
        """
        moved = {root.path: reason for root in self._all if (reason := root.moved())}
        return self.elsewhere.missing | moved

    def no_rights(self) -> str:
        """Returns which right is missing to delete in the base directory; "" if none is."""
        effective_ids = os.access in os.supports_effective_ids
        if os.access(self.base.path, os.W_OK | os.X_OK, effective_ids=effective_ids):
            return ""
        return f"uid {os.geteuid()} may not write to it"

    def is_in_memory(self) -> bool:
        """Whether a reboot removes the base directory."""
        with self.use():
            return self.system.is_in_memory(self.base.fd)

    @property
    def name(self) -> str:
        return self.base.path

    def close_now(self) -> None:
        for root in self._all:
            root.private.close()
            fd, root.fd = root.fd, -1
            if fd >= 0:
                close(fd)

    def __del__(self) -> None:
        """Descriptors are closed even if a manager was dropped without ``close``."""
        self.close_now()

    def __enter__(self) -> Roots:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_base(system: System, path: str, settings: Settings, *, create: bool) -> Root:
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


def _open_others(system: System, base: Root, others: list[Root], settings: Settings) -> dict[str, str]:
    """Add the allowed roots to *others*; returns path -> reason, of those that this host does not have."""
    unavailable: dict[str, str] = {}
    for path in settings.roots:
        resolved = os.path.realpath(path)
        if resolved in (base.path, *(root.path for root in others)) or path == settings.base_dir:
            continue
        try:
            refuse_foreign_links(path, settings)
            others.append(_open_root(system, resolved, settings, base.fd))
        except OSError as exc:
            unavailable[resolved] = name_of(exc)
        except SettingsError as exc:
            if path in settings.allowed_roots:
                raise
            unavailable[resolved] = str(exc)  # the system's temp directory, which no setting names
    return unavailable


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
        )
    except BaseException:
        close(fd)
        raise
