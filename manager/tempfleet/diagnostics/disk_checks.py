"""The doctor's checks of disks and directories."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence

from ..cleanup import RegistryPromises
from ..deletion import Stranded, stranded
from ..errors import SettingsError, VolumeUnavailable
from ..filesystem import LOOK_SECONDS, NOT_ANSWERING, Roots, bounded_at, meaning_of
from ..formatting import counted
from ..logs import printable
from ..reconciliation import EPHEMERAL, UnregisteredFiles, confirm_disks, uid_of
from ..registry import DISK, Registry, VolumeStats
from ..settings import Settings
from .disk_problems import free_amounts
from .finding import Finding


def check_missing_directory(base_dir: str, stats: VolumeStats) -> Finding:
    if not stats.records:
        return Finding.ok("permissions", f"{printable(base_dir)} is created with its first file")
    if stats.meta.get(DISK, "").startswith(EPHEMERAL):
        todo = (
            "If it was moved, move it back before the next clean-up. In memory and in the temp directory it is created "
            "anew, and then the records of its files are dropped."
        )
    else:
        todo = "Is its disk mounted? Mount it; until then no file is claimed."
    return Finding.error(
        "permissions",
        f"{printable(base_dir)} is not there, but has {counted(stats.records, 'registered file')}",
        todo,
    )


def check_root(root: str, *, is_base: bool) -> list[Finding]:
    """The findings about one root; none about a missing base directory: whether that is bad depends on the records."""

    def check() -> list[Finding]:
        try:
            os.lstat(root)
        except (FileNotFoundError, NotADirectoryError):
            if is_base:
                return []
        except OSError:
            pass  # it may be there
        return [_check_permissions(root), *_check_free_space(root)]

    calls = bounded_at(root)
    try:
        return calls.finish(calls.begin(check), LOOK_SECONDS)
    except VolumeUnavailable as exc:
        return [_unanswered(root, exc)]


def _unanswered(root: str, exc: VolumeUnavailable) -> Finding:
    meaning = meaning_of(exc.reason)
    return Finding.error(
        "disk", f"{printable(root)} is {exc.reason}: {meaning.text}; its files wait", meaning.todo
    )


def _check_permissions(root: str) -> Finding:
    try:
        status = os.stat(root)
    except PermissionError:
        return Finding.error(
            "permissions",
            f"{printable(root)}: uid {os.geteuid()} may not search a directory above it",
            "Run the worker, and this command, as a user who may; or give this user the right to search (chmod +x).",
        )
    except OSError as exc:
        return Finding.error(
            "permissions",
            f"{printable(root)}: {exc.strerror}",
            "Create it, mount it, or remove it from TEMP_FILE_ALLOWED_ROOTS.",
        )
    if not stat.S_ISDIR(status.st_mode):
        return Finding.error(
            "permissions",
            f"{printable(root)} is not a directory",
            "Move that file away, or correct TEMP_FILE_BASE_DIR or TEMP_FILE_ALLOWED_ROOTS.",
        )
    facts = f"{printable(root)} is {stat.filemode(status.st_mode)}, owned by uid {status.st_uid}"
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        return Finding.error(
            "permissions",
            f"{facts}, and this user may not write to it",
            "Run the worker as its owner, or make this user its owner.",
        )
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        return Finding.error(
            "permissions",
            f"{facts}, so every user may rename files in it",
            f"chmod o-w {printable(root)}, or chmod +t.",
        )
    return Finding.ok("permissions", facts)


def _check_free_space(root: str) -> Iterator[Finding]:
    try:
        status = os.statvfs(root)
    except OSError:
        return  # _check_permissions reports it
    for amount in free_amounts(status):
        yield amount.finding(root)


def _check_private_directories(registry: Registry, roots: Roots) -> Iterator[Finding]:
    """Whether files lie there that no clean-up takes out."""
    files = list(stranded(roots, RegistryPromises(registry), quarantine=True))
    foreign = [file for file in files if file.foreign and not file.namesake]
    namesakes = [file for file in files if file.namesake]
    lost = [file for file in files if not file.foreign]
    if lost:
        yield Finding.warning(
            "private directory",
            f"{counted(len(lost), 'file')} without a record: {_listed(lost)}",
            "If its directory is gone, create it again; if another file has its name, move that one away. The next "
            "clean-up of a new process then moves the file back. If its path is unknown, look at it and decide.",
        )
    if namesakes:
        yield Finding.warning(
            "private directory",
            f"{counted(len(namesakes), 'file')} of another registry with the same names (host, base directory, "
            f"namespace): {_listed(namesakes)}",
            "If it is this Redis before it lost its data, tempfleet adopt --quarantine takes them over; tempfleet "
            "restore brings quarantined files back. If it is another Redis, give it another TEMP_FILE_HOST or "
            "TEMP_FILE_NAMESPACE.",
        )
    if foreign:
        yield Finding.warning(
            "private directory",
            f"{counted(len(foreign), 'file')} of another registry (Redis, namespace or base directory): "
            f"{_listed(foreign)}",
            "Workers of that registry look after them. If it is gone for ever, tempfleet restore brings quarantined "
            "files back.",
        )


def _listed(files: Sequence[Stranded]) -> str:
    texts = [
        printable(f"{file.inside} (was {file.path})" if file.path else file.inside) for file in files[:3]
    ]
    return ", ".join(texts) + (", ..." if len(files) > 3 else "")


def _check_other_roots(roots: Roots) -> Iterator[Finding]:
    """Roots that are other directories than those that files were registered in."""
    for path in roots.elsewhere.missing:
        yield Finding.error(
            "disk",
            f"{printable(path)} is not the directory in which its files were registered. They are kept",
            "Mount the right disk, or end its privacy (PrivateTmp=, a container); or run tempfleet accept-disk.",
        )


def check_base_directory(registry: Registry, settings: Settings, stats: VolumeStats) -> Iterator[Finding]:
    """Whether its disk is the one of the records, and which files in it have no record."""
    try:
        if not bounded_at(settings.base_dir).ask(lambda: os.path.isdir(settings.base_dir)):
            return
        with Roots.open(settings, create=False) as roots:
            confirm_disks(stats, roots)
            yield from _check_other_roots(roots)
            yield from _check_private_directories(registry, roots)
            pages = UnregisteredFiles(registry, roots).pages(idle_seconds=settings.max_age_seconds, uid=None)
            owners = Counter(file.uid for page in pages for file in page)
            files, others = owners.total(), owners.total() - owners[uid_of(None, roots) or 0]
    except SettingsError:
        return  # the check of the settings reports it
    except VolumeUnavailable as exc:
        if exc.reason == NOT_ANSWERING:
            return  # check_root reports it
        yield Finding.error("disk", str(exc), "Mount the right disk, or run tempfleet accept-disk.")
        return
    except OSError as exc:
        yield Finding.error("unregistered", f"The check failed: {exc}", "See the findings on permissions.")
        return
    if files and stats.total("registered"):
        yield Finding.warning(
            "unregistered",
            f"{counted(files, 'file')} in the base directory without a record"
            + (f", {others:,} of other users" if others else ""),
            "tempfleet adopt --dry-run lists them; tempfleet adopt registers them, so that they expire."
            + (" With --owner any also those of other users." if others else ""),
        )
    elif files:
        yield Finding.warning(
            "unregistered",
            f"{counted(files, 'file')} in the base directory, where nothing was ever registered",
            "Is TEMP_FILE_BASE_DIR right? The directory must be for temporary files only.",
        )
    else:
        yield Finding.ok(
            "unregistered", "Every file that has not changed for TEMP_FILE_MAX_AGE is registered"
        )
