"""The doctor's checks of disks and directories."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from ..errors import SettingsError, VolumeUnavailable
from ..filesystem import Roots
from ..formatting import counted
from ..logs import printable
from ..reconciliation import EPHEMERAL, UnregisteredFiles, confirm_disk
from ..registry import DISK, Registry, VolumeStats
from ..settings import Settings
from .finding import Finding, Level

SCARCE, EXHAUSTED = 0.10, 0.02
"""Free shares of a file system, or of Redis's memory, that are worth a warning, or an error."""


def check_absent_volumes(base_dir: str, stats: VolumeStats) -> Finding:
    if not stats.records:
        return Finding("permissions", Level.OK, f"{printable(base_dir)} is made with its first file")
    if stats.meta.get(DISK, "").startswith(EPHEMERAL):
        todo = "Is it elsewhere? Put it back before anything cleans: in memory and in temp it is made anew, empty."
    else:
        todo = "Is its disk mounted? Mount it; nothing is claimed meanwhile."
    return Finding(
        "permissions", Level.ERROR,
        f"{printable(base_dir)} is not there, and has {counted(stats.records, 'registered file')}", todo,
    )  # fmt: skip


def check_permissions(root: str) -> Finding:
    try:
        found = os.stat(root)
    except OSError as exc:
        return Finding(
            "permissions", Level.ERROR, f"{printable(root)}: {exc.strerror}",
            "Make it, mount it, or take it out of TEMP_FILE_ALLOWED_ROOTS.",
        )  # fmt: skip
    if not stat.S_ISDIR(found.st_mode):
        return Finding(
            "permissions", Level.ERROR, f"{printable(root)} is not a directory",
            "Move that file away; or correct TEMP_FILE_BASE_DIR, or TEMP_FILE_ALLOWED_ROOTS.",
        )  # fmt: skip
    shown = f"{printable(root)} is {stat.filemode(found.st_mode)}, owned by uid {found.st_uid}"
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        return Finding(
            "permissions", Level.ERROR, f"{shown}, and not ours to write",
            "Run the worker as its owner, or give this user the directory.",
        )  # fmt: skip
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        return Finding(
            "permissions", Level.ERROR, f"{shown}: everybody may rename files in it",
            f"chmod o-w {printable(root)}, or chmod +t.",
        )  # fmt: skip
    return Finding("permissions", Level.OK, shown)


def check_free_space(root: str) -> Iterator[Finding]:
    try:
        found = os.statvfs(root)
    except OSError:
        return  # told by permissions
    amounts = {
        "disk space": (
            found.f_bavail, found.f_blocks,
            "Clean up, set TEMP_FILE_EVICT_ABOVE, or lower TEMP_FILE_MAX_BYTES or TEMP_FILE_MAX_AGE.",
        ),
        "inodes": (
            found.f_favail, found.f_files,
            "Clean up, set TEMP_FILE_EVICT_ABOVE, or lower MAX_TEMP_FILES or TEMP_FILE_MAX_AGE.",
        ),
    }  # fmt: skip
    for check, (free, total, todo) in amounts.items():
        if total:  # some file systems count no inodes
            yield percentage(check, free / total, f"of the file system of {printable(root)}", todo)


def percentage(check: str, share: float, of: str, todo: str) -> Finding:
    level = Level.ERROR if share < EXHAUSTED else Level.WARNING if share < SCARCE else Level.OK
    return Finding(check, level, f"{max(share, 0):.0%} {of} is free", todo if level is not Level.OK else "")


def check_base_directory(registry: Registry, settings: Settings, stats: VolumeStats) -> Iterator[Finding]:
    """Whether it is the one that the records are of, and what is in it that has none."""
    if not os.path.isdir(settings.base_dir):
        return
    try:
        with Roots.open(settings, create=False) as roots:
            confirm_disk(stats, roots)
            pages = UnregisteredFiles(registry, roots).pages(idle_seconds=settings.max_age_seconds)
            files = sum(map(len, pages))
    except SettingsError:
        return  # a finding of its own
    except VolumeUnavailable as exc:
        yield Finding("disk", Level.ERROR, str(exc), "Mount its disk; or tempfleet accept-disk.")
        return
    except OSError as exc:
        yield Finding(
            "unregistered", Level.ERROR, f"Not looked for: {exc}", "See the findings on permissions."
        )
        return
    if files and stats.total("registered"):
        yield Finding(
            "unregistered", Level.WARNING,
            f"{counted(files, 'file')} in the base directory without a record: never registered, or forgotten",
            "tempfleet adopt --dry-run lists them; without it they are registered, and go in time.",
        )  # fmt: skip
    elif files:
        yield Finding(
            "unregistered", Level.WARNING,
            f"{counted(files, 'file')} in the base directory, where nothing was ever registered",
            "Is TEMP_FILE_BASE_DIR right? It is for temporary files alone.",
        )  # fmt: skip
    else:
        yield Finding("unregistered", Level.OK, "Every file that has been here for a while is registered")
