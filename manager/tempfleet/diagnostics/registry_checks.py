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
from .clock import clock_problem
from .disk_problems import percentage
from .finding import Finding, Level
from .open_files import processes_using

FILES_CHECKED = 100
"""How many failed files, and how many broken records, are reported."""

CLOCK_SECONDS = 5.0
"""A larger difference between clocks is reported. It does not move deadlines, but it confuses readers of logs."""


def check_redis(registry: Registry) -> Iterator[Finding]:
    store = registry.store
    store.check_policy()
    memory = Fleet(store).memory()
    if memory is None:
        yield Finding.ok("redis memory", "Redis does not report its memory")
    elif not memory.max_bytes:
        yield Finding.ok("redis memory", f"Redis uses {size(memory.used_bytes)}, without a limit")
    else:
        yield percentage(
            "redis memory",
            1 - memory.used_bytes / memory.max_bytes,
            f"of Redis's maxmemory ({size(memory.used_bytes)} of {size(memory.max_bytes)} are used)",
            "Raise maxmemory. If Redis is full, it refuses registrations.",
        )
    info = store.info("persistence")
    if not info:
        yield Finding.ok("redis persistence", "Redis does not report whether it writes to a disk")
    elif info.get("aof_enabled"):
        is_written = info.get("aof_last_write_status", "ok") == "ok"
        yield Finding(
            "redis persistence",
            Level.OK if is_written else Level.ERROR,
            "The append-only file is on" if is_written else "Redis could not write its append-only file",
            "" if is_written else "Look at Redis's disk and log.",
        )
    else:
        yield Finding.warning(
            "redis persistence",
            "Redis has no append-only file, so a crash loses registrations",
            "Set appendonly yes. Files of lost records stay on the disk until tempfleet adopt registers them.",
        )


def check_registry(registry: Registry, stats: VolumeStats) -> Iterator[Finding]:
    memory = registry.memory_bytes()
    in_redis = "Redis does not report their memory" if memory is None else f"in {size(memory)} of Redis"
    yield Finding(
        "registry",
        Level.OK,
        f"{counted(stats.records, 'record')}, {size(stats.bytes)} of files, {in_redis}",
    )
    broken = registry.audit()
    for path in broken[:FILES_CHECKED]:
        yield Finding.error(
            "record",
            f"{printable(path)} is in no set, in several sets, has no record, or is held without a hold",
            "Register it again, or run tempfleet unregister.",
        )
    if not (stats.imbalance or broken):
        yield Finding.ok("balance", "Every file that was ever registered is accounted for")


def check_leases(registry: Registry) -> Iterator[Finding]:
    if ended := sum(map(len, registry.ended_hold_paths())):
        files = counted(ended, "file has", "files have")
        them = "it" if ended == 1 else "them"
        text = f"{files} a hold that has ended; the next clean-up treats {them} as not held"
        yield Finding.ok("holds", text)
    expired = sum(map(len, registry.expired_lease_paths()))
    if not expired:
        yield Finding.ok("leases", "No lease has expired")
        return
    yield Finding.warning(
        "leases",
        f"{counted(expired, 'file has', 'files have')} a lease that has expired",
        "A worker died. The next clean-up makes them due again. Does a worker of this host run?",
    )


def check_clock(registry: Registry, stats: VolumeStats) -> Finding:
    """A token is at least the time of its claim. If it is in the future, the clock went back, or jumped before."""
    if (problem := clock_problem(stats)) is not None:
        return Finding.error("clock", *problem)
    back = int(stats.meta.get("token", 0)) / 1e6 - stats.now_ms / 1000
    if back > CLOCK_SECONDS and not stats.has_jumped:
        return Finding.error(
            "clock",
            f"Redis's clock went back by at least {duration(back)}",
            "Correct it, and do not step it again. Deadlines are late until it has caught up.",
        )
    difference = abs(time.time() - registry.now_ms() / 1000)
    if difference > CLOCK_SECONDS:
        return Finding.warning(
            "clock",
            f"This host's clock and Redis's are {duration(difference)} apart",
            "Synchronise both with the same time servers. Only Redis's clock counts, but logs have this host's time.",
        )
    return Finding.ok("clock", "This host's clock agrees with Redis's")


def check_failures(registry: Registry) -> Iterator[Finding]:
    dead = list(islice(registry.all_records(state=State.DEAD), FILES_CHECKED))
    failing = dead + list(islice(_retried(registry), FILES_CHECKED))
    users = processes_using({record.path for record in failing})
    for record in failing:
        yield _failure(record, users.get(record.path, []))
    if not failing:
        yield Finding.ok("failures", "No deletion has failed")


def _retried(registry: Registry) -> Iterator[FileRecord]:
    """Records that failed and wait for a retry, due or not; the next retry can be an hour away."""
    for page in registry.failed_paths():
        for record in registry.read(page)[1]:
            if record is not None and record.state is State.WAITING:
                yield record


def _failure(record: FileRecord, processes: list[str]) -> Finding:
    reason = record.last_error or "unknown"
    # Only failures count as attempts: a busy file, or one whose root is away, has none.
    has_failed = record.attempts > 0 or record.state is State.DEAD
    verb = "cannot be deleted" if has_failed else "was kept at the last try"
    text, todo = f"{printable(record.path)} {verb} ({in_words(reason)})", meaning_of(reason).todo
    if processes:
        return Finding(
            "failures",
            Level.WARNING,
            f"{text}; open in {', '.join(processes)}",
            "End these processes, or wait.",
        )
    if record.state is State.DEAD:
        return Finding.error(
            "failures",
            f"{text}; it is a dead letter",
            f"{todo or 'Remove the cause.'} Then run tempfleet dead retry, or tempfleet dead forget.",
        )
    attempts = f"; {counted(record.attempts, 'attempt')}" if record.attempts else ""
    return Finding.warning("failures", text + attempts, f"{todo} It is retried automatically.".lstrip())
