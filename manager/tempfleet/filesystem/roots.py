"""
The directories below which files may be deleted, resolved once and held open.

A root is named by a person (settings), so its path is trusted once, at start; everything below it belongs to
strangers. Held open, it stays the directory that was validated whatever is renamed or mounted later, and
``check`` notices that it did.
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
from .errnos import name_of
from .identity import Identity
from .paths import WHY, unsafe
from .private_directory import PrivateDirectory
from .root_rules import is_shared, refuse_foreign_links, refuse_foreign_owner, refuse_wide
from .syscalls import DIRECTORY_FLAGS, System

BASE_MODE = 0o700


@dataclass(slots=True, eq=False)
class Root:
    """
    One directory below which files may be deleted.

    Attributes:
        path: resolved; every managed path below it starts with ``prefix``.
        fd: the directory itself; -1 after close.
        trusted: nobody else can rename, replace or remove a name in it: names made by ``new_name`` are ours
            alone.
        handles: whether its file system gives file handles that last.
    """

    path: str
    fd: int
    device: int
    ino: int
    mount: int
    trusted: bool
    handles: bool
    prefix: str = field(init=False)
    private: PrivateDirectory = field(init=False)

    def __post_init__(self) -> None:
        self.prefix = self.path + "/"
        self.private = PrivateDirectory(self.fd, self.prefix)

    def moved(self) -> str:
        """Why this is not the directory at its path any more, "" while it is."""
        if self.fd < 0:
            return "closed"
        try:
            found = os.stat(self.path)
        except OSError as exc:
            return name_of(exc)
        return "" if (found.st_dev, found.st_ino) == (self.device, self.ino) else "replaced"


class Roots:
    """
    The roots of one volume: its base directory and whatever else the settings allow.

    Usable after a fork, and by several threads. ``close`` may be called twice.

    Attributes:
        unavailable: path -> reason, of the allowed roots that this host has not got. Not an error: their
            records wait.
    """

    def __init__(self, base: Root, others: list[Root], unavailable: dict[str, str], settings: Settings,
                 system: System) -> None:  # fmt: skip
        self.base = base
        self.unavailable = unavailable
        self.settings = settings
        self.system = system
        self._all = sorted([base, *others], key=lambda root: len(root.path), reverse=True)
        self._never = {str(at) for root in self._all for at in (Path(root.path), *Path(root.path).parents)}

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
        Validate and open the base directory and the allowed roots.

        Args:
            base_dir: in the place of the settings' one.
            create: make a missing base directory (0700), with its parents.

        Raises:
            SettingsError: a root that may not be one; the message says why.
            VolumeUnavailable: no base directory, and it was not to be made.
            OSError: the base directory could not be made or opened.
        """
        system = system or System()
        path = str(Path(base_dir or settings.base_dir).absolute())
        base = _open_base(system, path, settings, create=create)
        others: list[Root] = []
        try:
            unavailable = _open_others(system, base, others, settings)
        except SettingsError:
            for root in (base, *others):
                os.close(root.fd)
            raise
        for gone, reason in unavailable.items():
            logger.warning("root %s is not available: %s", printable(gone), reason)
        return cls(base, others, unavailable, settings, system)

    def __iter__(self) -> Iterator[Root]:
        return iter(self._all)

    def find(self, path: str) -> Root | None:
        """
        The longest root that has *path* below it; None for a root itself and for what is outside all of them.
        """
        for root in self._all:
            if path.startswith(root.prefix):
                hidden = self.unavailable and self.is_unavailable(path, below=root.path)
                return None if hidden or path in self._never else root
        return None

    def outside(self, path: str, *, deed: str = "managed") -> UnsafePath:
        """The error for a path that is below none of them; it names them, so that nobody has to look them up."""
        names = dict.fromkeys((self.base.path, *(root.path for root in self._all)))
        why = f"{WHY['outside-roots']}: {', '.join(map(printable, names))}"
        return unsafe(path, "outside-roots", why, deed=deed)

    def holds_a_root(self, path: str) -> bool:
        """Whether *path* is a root or has one below it: such a directory is never deleted."""
        return path in self._never

    def is_unavailable(self, path: str, *, below: str = "") -> str:
        """
        The reason, if *path* is below a configured root that this host has not got; else "".

        Args:
            below: count only such roots below this one: inside it, they only look like missing directories.
        """
        for gone, reason in self.unavailable.items():
            if path.startswith(gone + "/") and len(gone) > len(below):
                return reason
        return ""

    def check(self) -> dict[str, str]:
        """
        Path -> reason, of the roots that are no longer what was opened: moved, unmounted, covered by a mount.
        """
        return {root.path: reason for root in self._all if (reason := root.moved())}

    def no_rights(self) -> str:
        """What this user may not do in the base directory, so that nothing can be deleted there; "" if all is well."""
        known = os.access in os.supports_effective_ids
        if os.access(self.base.path, os.W_OK | os.X_OK, effective_ids=known):
            return ""
        return f"uid {os.geteuid()} may not write to it"

    def base_identity(self) -> str:
        """Which directory the base is, the same after a reboot or a remount; "" where that cannot be known."""
        reader = self.system.reader()
        stat_of_base = reader.fstat(self.base.fd)
        identity = Identity.of(reader, self.base.fd, ".", stat_of_base, handles=self.base.handles)
        return "" if identity.is_weak else identity

    def is_in_memory(self) -> bool:
        """Whether the base directory is gone after a reboot."""
        return self.system.is_in_memory(self.base.fd)

    def close(self) -> None:
        for root in self._all:
            root.private.close()
            if root.fd >= 0:
                os.close(root.fd)
                root.fd = -1

    def __del__(self) -> None:
        """A manager that its user simply dropped holds no descriptor either."""
        self.close()

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
        _make(resolved)
    try:
        return _open_root(system, resolved, settings, None)
    except FileNotFoundError:
        raise VolumeUnavailable(
            f"there is no {printable(resolved)}; {VolumeUnavailable.__doc__}", base_dir=path, reason="ENOENT"
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


def _make(path: str) -> None:
    """mkdir -p, the last one private. A parent that is made has the usual mode."""
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
            handles=system.has_lasting_handles(fd),
        )
    except BaseException:
        os.close(fd)
        raise
