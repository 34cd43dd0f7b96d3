"""
What may be wrong with a volume, its disk and its Redis, and what to do about it: the specification's troubleshooting
steps (8.2, 8.3), done by a program. It looks and changes nothing.

Health asks whether it works, in a few round trips, for probes; the doctor takes its time and looks at every record.
"""

from __future__ import annotations

import os
import stat
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from itertools import islice

from ..deletion.audit import check_place
from ..errors import SettingsError, TempfleetError, VolumeUnavailable
from ..filesystem.errnos import in_words, meaning_of
from ..filesystem.roots import Roots
from ..logs import printable
from ..plugins.hooks import Hooks
from ..plugins.plugin import installed
from ..reconciliation.disk_identity import PASSING, confirm
from ..reconciliation.unregistered import Finder
from ..records import FileRecord, State
from ..registry.fleet import Fleet
from ..registry.registry import FULL, Registry
from ..registry.stats import VolumeStats
from ..settings.settings import Settings
from ..settings.units import counted, duration
from .open_files import holders

LOOKED_AT = 100
"""Files that are asked who holds them."""

SCARCE, EXHAUSTED = 0.10, 0.02
"""Free shares of a file system, or of Redis's memory, that are worth a warning, or an error."""

CLOCK_SECONDS = 5.0
"""A difference between clocks that is worth a word: deadlines do not mind, people who read logs do."""


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What one check found.

    Attributes:
        check: its name, one word or two.
        said: what is so.
        todo: what to do about it; "" where all is well.
    """

    check: str
    level: Level
    said: str
    todo: str = ""


def examine(registry: Registry, settings: Settings) -> Iterator[Finding]:
    """Every finding, the disk's first. A Redis that does not answer is one, and ends the list."""
    yield from _settings(registry, settings)
    for root in dict.fromkeys(settings.roots):
        if root == settings.base_dir and not os.path.lexists(root):
            continue  # what that means, the registry knows
        yield _permissions(root)
        yield from _space(root)
    try:
        yield from _redis(registry)
        stats = registry.stats()
        if not os.path.lexists(settings.base_dir):
            yield _absent(settings.base_dir, stats)
        yield from _registry(registry, stats)
        yield from _directory(registry, settings, stats)
        yield from _eviction(stats)
        yield from _plugins(stats, settings)
        yield from _leases(registry)
        yield from _hosts(registry, settings)
        yield _clock(registry, stats)
        yield from _failures(registry)
    except TempfleetError as exc:
        yield Finding("redis", Level.ERROR, str(exc), "Mend that first; the other checks need the registry.")


def _settings(registry: Registry, settings: Settings) -> Iterator[Finding]:
    """What can be set and does not work; what cannot be set at all has stopped us before."""
    try:
        check_place(settings.audit_log)
        Hooks(installed(settings), registry, settings).order()
        if os.path.isdir(settings.base_dir):
            Roots.open(settings, create=False).close()
    except SettingsError as exc:
        yield Finding("settings", Level.ERROR, str(exc), "Correct it; workers do not start with it.")
    if settings.compress_after_seconds and find_spec("zstandard") is None:
        yield Finding(
            "settings", Level.WARNING, "TEMP_FILE_COMPRESS_AFTER is set, and the library that compresses is missing",
            "pip install 'tempfleet[compression]', or unset it.",
        )  # fmt: skip


def _absent(base_dir: str, stats: VolumeStats) -> Finding:
    if not stats.records:
        return Finding("permissions", Level.OK, f"{printable(base_dir)} is made with its first file")
    if stats.meta.get("disk", "").startswith(PASSING):
        todo = "Is it elsewhere? Put it back before anything cleans: in memory and in temp it is made anew, empty."
    else:
        todo = "Is its disk mounted? Mount it; nothing is claimed meanwhile."
    return Finding(
        "permissions", Level.ERROR,
        f"{printable(base_dir)} is not there, and has {counted(stats.records, 'registered file')}", todo,
    )  # fmt: skip


def _permissions(root: str) -> Finding:
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


def _space(root: str) -> Iterator[Finding]:
    try:
        found = os.statvfs(root)
    except OSError:
        return  # told by _permissions
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
            yield _share(check, free / total, f"of the file system of {printable(root)}", todo)


def _share(check: str, share: float, of: str, todo: str) -> Finding:
    level = Level.ERROR if share < EXHAUSTED else Level.WARNING if share < SCARCE else Level.OK
    return Finding(check, level, f"{max(share, 0):.0%} {of} is free", todo if level is not Level.OK else "")


def _redis(registry: Registry) -> Iterator[Finding]:
    store = registry.store
    store.check_policy()
    memory = Fleet(store).memory()
    if memory is None:
        yield Finding("redis memory", Level.OK, "Redis does not tell how much it uses")
    elif not memory.max_bytes:
        yield Finding("redis memory", Level.OK, f"Redis uses {memory.used_bytes} bytes, without a limit")
    else:
        yield _share(
            "redis memory", 1 - memory.used_bytes / memory.max_bytes,
            f"of Redis's maxmemory ({memory.used_bytes} of {memory.max_bytes} bytes are used)",
            "Raise maxmemory: when it is reached, registering is refused.",
        )  # fmt: skip
    known = store.info("persistence")
    if not known:
        yield Finding("redis persistence", Level.OK, "Redis does not tell whether it writes to a disk")
    elif known.get("aof_enabled"):
        wrote = known.get("aof_last_write_status", "ok") == "ok"
        yield Finding(
            "redis persistence",
            Level.OK if wrote else Level.ERROR,
            "The append-only file is on" if wrote else "Redis could not write its append-only file",
            "" if wrote else "Look at Redis's disk and log.",
        )
    else:
        yield Finding(
            "redis persistence", Level.WARNING, "Redis has no append-only file: a crash forgets registrations",
            "Set appendonly yes; files of lost records stay on the disk until tempfleet adopt.",
        )  # fmt: skip


def _registry(registry: Registry, stats: VolumeStats) -> Iterator[Finding]:
    memory = registry.memory_bytes()
    in_redis = "Redis does not tell in how many bytes" if memory is None else f"in {memory} bytes of Redis"
    yield Finding(
        "registry",
        Level.OK,
        f"{counted(stats.records, 'record')}, {counted(stats.bytes, 'byte')} of files, {in_redis}",
    )
    if stats.imbalance:
        yield Finding(
            "balance", Level.ERROR, f"Counts do not balance by {stats.imbalance}",
            "The registry was edited, or partly lost: compare tempfleet ls with the directory.",
        )  # fmt: skip
    broken = registry.audit()
    for path in broken[:LOOKED_AT]:
        yield Finding(
            "record", Level.ERROR, f"{printable(path)} is in no set, in several, or has no record",
            "Register it again, or tempfleet release it.",
        )  # fmt: skip
    if not (stats.imbalance or broken):
        yield Finding("balance", Level.OK, "Every file that ever entered is accounted for")


def _directory(registry: Registry, settings: Settings, stats: VolumeStats) -> Iterator[Finding]:
    """Whether it is the one that the records are of, and what is in it that has none."""
    if not os.path.isdir(settings.base_dir):
        return
    try:
        with Roots.open(settings, create=False) as roots:
            confirm(stats, roots)
            pages = Finder(registry, roots).unregistered(idle_seconds=settings.max_age_seconds)
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


def _eviction(stats: VolumeStats) -> Iterator[Finding]:
    if stats.meta.get(FULL):
        yield Finding(
            "eviction", Level.WARNING, "The disk is above its high mark, and nothing more can be evicted",
            "Make room by hand: what is held, in use or not registered is never evicted.",
        )  # fmt: skip


def _plugins(stats: VolumeStats, settings: Settings) -> Iterator[Finding]:
    """Those that a worker has switched off, and those that do not even load here."""
    off = {
        note.plugin: f"is switched off in a process here ({note.hook}: {note.said})"
        for note in stats.plugins_off
    }
    for plugin in installed(settings):
        if plugin.name not in off and (failures := plugin.about().failures):
            off[plugin.name] = f"does not work here ({'; '.join(failures)})"
    for name, said in off.items():
        yield Finding(
            "plug-ins", Level.ERROR, f"{name} {said}",
            "Mend it and restart the workers, remove it, or leave it out of TEMP_FILE_PLUGINS.",
        )  # fmt: skip
    if not off:
        yield Finding("plug-ins", Level.OK, "No plug-in is switched off")


def _leases(registry: Registry) -> Iterator[Finding]:
    expired = sum(len(page) for page in registry.reapable_paths())
    if not expired:
        yield Finding("leases", Level.OK, "No lease and no hold has run out")
        return
    yield Finding(
        "leases", Level.WARNING, f"{counted(expired, 'file is', 'files are')} under leases or holds that ran out",
        "A worker died; the next clean-up takes them back. Does a worker of this host run?",
    )  # fmt: skip


def _hosts(registry: Registry, settings: Settings) -> Iterator[Finding]:
    fleet = Fleet(registry.store, live_seconds=settings.host_live_seconds)
    hosts = {host.name: host for host in fleet.hosts()}
    files: Counter[str] = Counter()
    for volume, stats in fleet.stats(fleet.volumes()).items():
        files[volume.host] += stats.active
    silent = [host for host in hosts.values() if not host.live]
    for host in silent:
        yield Finding(
            "hosts", Level.WARNING,
            f"{printable(host.name)} has been silent for {duration(host.silent_seconds)}; "
            f"{counted(files[host.name], 'file waits', 'files wait')} there",
            f"Start its worker, or tempfleet hosts retire {printable(host.name)}.",
        )  # fmt: skip
    unknown = {name: n for name, n in files.items() if n and name not in hosts}
    for name, n in unknown.items() if hosts else ():
        yield Finding(
            "hosts", Level.WARNING,
            f"{counted(n, 'file is', 'files are')} registered for {printable(name)}, and no worker of it was ever seen",
            f"Start a worker there; or is its name wrong? tempfleet --host {printable(name)} ls, and release them.",
        )  # fmt: skip
    if not (silent or (hosts and unknown)):
        yield Finding(
            "hosts", Level.OK, f"{counted(len(hosts), 'host is', 'hosts are')} live, none is silent"
        )


def _clock(registry: Registry, stats: VolumeStats) -> Finding:
    """A token is at least the instant of its claim: one from the future is a clock that went back."""
    back = int(stats.meta.get("token", 0)) / 1e6 - stats.now_ms / 1000
    if back > CLOCK_SECONDS:
        return Finding(
            "clock", Level.ERROR, f"Redis's clock went back by at least {back:.0f} s",
            "Set it right, and step it no more: until it has caught up, deadlines are late.",
        )  # fmt: skip
    apart = abs(time.time() - registry.now_ms() / 1000)
    if apart > CLOCK_SECONDS:
        return Finding(
            "clock", Level.WARNING, f"This host's clock and Redis's are {apart:.0f} s apart",
            "Set them by the same time servers; only Redis's counts, but logs tell this host's.",
        )  # fmt: skip
    return Finding("clock", Level.OK, "This host's clock agrees with Redis's")


def _failures(registry: Registry) -> Iterator[Finding]:
    dead = list(islice(registry.all_records(state=State.DEAD), LOOKED_AT))
    failing = dead + list(islice(_tried_again(registry), LOOKED_AT))
    held = holders({record.path for record in failing})
    for record in failing:
        yield _failure(record, held.get(record.path, []))
    if not failing:
        yield Finding("failures", Level.OK, "No file has failed to go")


def _tried_again(registry: Registry) -> Iterator[FileRecord]:
    """What failed and waits, due or not: the next try is up to an hour away."""
    for page in registry.failed_paths():
        for record in registry.look(page)[1]:
            if record is not None and record.state is State.WAITING:
                yield record


def _failure(record: FileRecord, holding: list[str]) -> Finding:
    reason = record.last_error or "unknown"
    said, todo = f"{printable(record.path)} does not go ({in_words(reason)})", meaning_of(reason).todo
    if holding:
        return Finding(
            "failures", Level.WARNING, f"{said}; open in {', '.join(holding)}", "End those, or wait."
        )
    if record.state is State.DEAD:
        return Finding(
            "failures", Level.ERROR, f"{said}; it was given up",
            f"{todo or 'Mend the reason.'} Then tempfleet dead retry; or tempfleet dead forget.",
        )  # fmt: skip
    return Finding(
        "failures", Level.WARNING, f"{said}; {counted(record.attempts, 'attempt')}",
        f"{todo} It is tried again by itself.".lstrip(),
    )  # fmt: skip
