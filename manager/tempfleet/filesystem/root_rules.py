"""
Which directory may be a root. Each rule raises SettingsError, and the message names the setting.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from ..errors import SettingsError
from ..logs import printable
from ..settings import Settings, default_base_dir
from .paths import PREFIX, is_private_name, resolved_if_possible

_BELOW_SYSTEM = ("/etc/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/boot/", "/proc/", "/sys/")

_SYSTEM = {*(path.rstrip("/") for path in _BELOW_SYSTEM), "/dev", "/run", "/usr", "/var"}
"""
Nobody keeps temporary files directly here, and a mistyped root would be a disaster. Below the last four, a root is
allowed.
"""

_MOST_STEPS = 4096
"""PATH_MAX; a loop of links ends here."""


def refuse_wide(path: str, settings: Settings) -> None:
    if path == "/":
        raise refusal(path, "is the root directory", settings)
    if path in map(resolved_if_possible, settings.homes):
        raise refusal(path, "is a home directory", settings)
    if path in _SYSTEM or path.startswith(_BELOW_SYSTEM):
        raise refusal(path, "belongs to the system", settings)
    if any(is_private_name(name) for name in path.split("/")):
        raise refusal(
            path, f"has a {PREFIX} directory in its path, which is for Tempfleet's own files", settings
        )


def refuse_foreign_links(path: str, settings: Settings) -> None:
    """
    Refuse a path that is reached through another user's symlink. The kernel protects shared directories against such
    links (fs.protected_symlinks), but realpath reads links itself.
    """
    for link in _links_on_the_way(path):
        if (uid := os.lstat(link).st_uid) not in (os.geteuid(), 0):
            raise refusal(path, f"is reached by {printable(link)}, a symlink of uid {uid}", settings)


def refuse_foreign_owner(path: str, status: os.stat_result, settings: Settings, base_fd: int | None) -> None:
    """
    Refuse a directory that another user owns, or that others may write to without a sticky bit.

    Args:
        base_fd: the base directory; None if *path* is the base directory itself.
    """
    euid = os.geteuid()
    owners = {euid, 0}
    if euid == 0 and path != os.path.realpath(default_base_dir()):
        # Root cleans for the owner of a base directory that a person named. The default one is different: all users
        # may write beside it, and its name contains root's uid. If another user owns it, treat it as hostile.
        owners.add(status.st_uid if base_fd is None else os.fstat(base_fd).st_uid)
    if status.st_uid not in owners:
        raise refusal(path, f"belongs to uid {status.st_uid}, not to this user or root", settings)
    if is_shared(status) and not status.st_mode & stat.S_ISVTX:
        raise refusal(path, "may be written by others and has no sticky bit", settings)


def is_shared(status: os.stat_result) -> bool:
    """Whether other users may write to this directory."""
    return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _links_on_the_way(path: str) -> Iterator[str]:
    """Yields every symlink that realpath follows to resolve the absolute *path*."""
    current, names = "", path.split("/")[::-1]
    for _ in range(_MOST_STEPS):
        if not names:
            return
        name = names.pop()
        if name in ("", "."):
            continue
        if name == "..":
            current = current.rpartition("/")[0]
            continue
        current += f"/{name}"
        try:
            target = os.readlink(current)
        except OSError:  # not a link, or missing
            continue
        yield current
        current = "" if target.startswith("/") else current.rpartition("/")[0]
        names += target.split("/")[::-1]


def refusal(path: str, why: str, settings: Settings) -> SettingsError:
    field_name = "base_dir" if os.path.realpath(settings.base_dir) == path else "allowed_roots"
    return SettingsError(
        f"{settings.variable_of(field_name)}: {printable(path)} {why}; deleting below it would not be safe",
        variable=settings.variable_of(field_name),
        value=path,
    )
