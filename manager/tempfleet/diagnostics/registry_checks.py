"""The doctor's checks of Redis and of the registry."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

from ..filesystem import in_words, meaning_of
from ..formatting import counted, duration, size
from ..logs import printable
from ..records import FileRecord, State
from ..registry import Fleet, Registry, VolumeStats
from .disk_checks import percentage
from .finding import Finding, Level
from .open_files import processes_using

LOOKED_AT = 100
"""Files that are asked who holds them."""

CLOCK_SECONDS = 5.0
"""A difference between clocks that is worth a word: deadlines do not mind, people who read logs do."""


def check_redis(registry: Registry) -> Iterator[Finding]:
    store = registry.store
    store.check_policy()
    memory = Fleet(store).memory()
    if memory is None:
        yield Finding("redis memory", Level.OK, "Redis does not tell how much it uses")
    elif not memory.max_bytes:
        yield Finding("redis memory", Level.OK, f"Redis uses {size(memory.used_bytes)}, without a limit")
    else:
        yield percentage(
            "redis memory", 1 - memory.used_bytes / memory.max_bytes,
            f"of Redis's maxmemory ({size(memory.used_bytes)} of {size(memory.max_bytes)} are used)",
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


def check_registry(registry: Registry, stats: VolumeStats) -> Iterator[Finding]:
    memory = registry.memory_bytes()
    in_redis = "Redis does not tell in how many bytes" if memory is None else f"in {size(memory)} of Redis"
    yield Finding(
        "registry",
        Level.OK,
        f"{counted(stats.records, 'record')}, {size(stats.bytes)} of files, {in_redis}",
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
            "Register it again, or tempfleet unregister it.",
        )  # fmt: skip
    if not (stats.imbalance or broken):
        yield Finding("balance", Level.OK, "Every file that ever entered is accounted for")


def check_leases(registry: Registry) -> Iterator[Finding]:
    expired = sum(len(page) for page in registry.reapable_paths())
    if not expired:
        yield Finding("leases", Level.OK, "No lease and no hold has run out")
        return
    yield Finding(
        "leases", Level.WARNING, f"{counted(expired, 'file is', 'files are')} under leases or holds that ran out",
        "A worker died; the next clean-up takes them back. Does a worker of this host run?",
    )  # fmt: skip


def check_clock(registry: Registry, stats: VolumeStats) -> Finding:
    """A token is at least the instant of its claim: one from the future is a clock that went back."""
    back = int(stats.meta.get("token", 0)) / 1e6 - stats.now_ms / 1000
    if back > CLOCK_SECONDS:
        return Finding(
            "clock", Level.ERROR, f"Redis's clock went back by at least {duration(back)}",
            "Set it right, and step it no more: until it has caught up, deadlines are late.",
        )  # fmt: skip
    apart = abs(time.time() - registry.now_ms() / 1000)
    if apart > CLOCK_SECONDS:
        return Finding(
            "clock", Level.WARNING, f"This host's clock and Redis's are {duration(apart)} apart",
            "Set them by the same time servers; only Redis's counts, but logs tell this host's.",
        )  # fmt: skip
    return Finding("clock", Level.OK, "This host's clock agrees with Redis's")


def check_failures(registry: Registry) -> Iterator[Finding]:
    dead = list(islice(registry.all_records(state=State.DEAD), LOOKED_AT))
    failing = dead + list(islice(_tried_again(registry), LOOKED_AT))
    held = processes_using({record.path for record in failing})
    for record in failing:
        yield _failure(record, held.get(record.path, []))
    if not failing:
        yield Finding("failures", Level.OK, "No file has failed to go")


def _tried_again(registry: Registry) -> Iterator[FileRecord]:
    """What failed and waits, due or not: the next try is up to an hour away."""
    for page in registry.failed_paths():
        for record in registry.read(page)[1]:
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
