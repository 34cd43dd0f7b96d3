"""
The one list of problems: what the registry tells is wrong, and what to do. Health, doctor, the status page and explain
show these; none of them decides by itself.

A new problem is one more function in ROWS. It gets Facts and yields Problems. It reads nothing, so the list costs no
round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..formatting import counted, duration, size
from ..logs import printable
from ..plugins import BEFORE_DELETE, HOOKS, LOAD
from ..registry import FULL, Host, Memory, Pulse, Volume, VolumeStats
from ..settings import Settings
from .clock import clock_problem
from .finding import Finding, Level
from .thrown_away import thrown_away

NEARLY_FULL = 0.85
"""Above this share of Redis's maxmemory there is a problem; the alert TempfleetRedisNearlyFull has the same."""
DISK_FULL = "disk-full"
"""The code of a problem that a process with the disk measures by itself."""
INTERVALS = 3
"""A sweep or a deletion that is late by so many intervals is a problem."""


@dataclass(frozen=True, slots=True)
class Problem:
    """
    Attributes:
        code: one word for programs, for example ``overdue``; it does not change.
        check: the doctor's check that shows it.
        text: what is wrong, a sentence without its full stop.
        todo: the remedy, whole sentences; "" if there is none to name.
    """

    code: str
    check: str
    level: Level
    text: str
    todo: str = ""

    def __str__(self) -> str:
        return f"{self.text}. {self.todo}" if self.todo else self.text

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_finding(self) -> Finding:
        return Finding(self.check, self.level, self.text, self.todo)


def warning(code: str, check: str, text: str, todo: str = "") -> Problem:
    return Problem(code, check, Level.WARNING, text, todo)


def error(code: str, check: str, text: str, todo: str = "") -> Problem:
    return Problem(code, check, Level.ERROR, text, todo)


@dataclass(frozen=True, slots=True)
class Facts:
    """
    What a process has read, at about one time.

    Attributes:
        host: the host of the reader.
        volumes: the volumes that are judged: one, or all of the fleet.
        missing_roots: the roots of this process that are not available, and why.
        patience_seconds: a file that is overdue for longer is a problem.
    """

    host: str
    pulse: Pulse
    volumes: Mapping[Volume, VolumeStats]
    memory: Memory | None
    missing_roots: Mapping[str, str]
    patience_seconds: float
    sweep_interval_seconds: float

    @property
    def is_one_volume(self) -> bool:
        return len(self.volumes) == 1

    def total(self, name: str, *, host: str | None = None) -> int:
        """The sum of an attribute of VolumeStats over the volumes, or over those of *host*."""
        return sum(
            getattr(stats, name) for volume, stats in self.volumes.items() if host in (None, volume.host)
        )

    def of(self, volume: Volume) -> str:
        """The beginning of a sentence about *volume*; "" if the reader asked for this volume alone."""
        return "" if self.is_one_volume else f"{printable(volume.host)}: "


def facts_of(
    settings: Settings,
    pulse: Pulse,
    volumes: Mapping[Volume, VolumeStats],
    *,
    memory: Memory | None = None,
    missing_roots: Mapping[str, str] | None = None,
) -> Facts:
    """The facts that a process with *settings* has read."""
    return Facts(
        settings.host,
        pulse,
        volumes,
        memory,
        missing_roots or {},
        patience_seconds=INTERVALS * settings.timer_interval_seconds,
        sweep_interval_seconds=settings.cleanup_interval_seconds,
    )


def problems_of(facts: Facts) -> list[Problem]:
    """Every problem that the facts show, without repetitions."""
    return list(dict.fromkeys(problem for row in ROWS for problem in row(facts)))


def _roots(facts: Facts) -> Iterator[Problem]:
    for root, why in facts.missing_roots.items():
        yield warning(
            "root-unavailable",
            "permissions",
            f"Root {printable(root)} is unavailable: {why}",
            "Create it, mount it, or remove it from TEMP_FILE_ALLOWED_ROOTS.",
        )


def _not_served(facts: Facts) -> Iterator[Problem]:
    for volume, stats in facts.volumes.items():
        if stats.not_served:
            yield warning(
                "not-served",
                "hosts",
                f"The worker of host {printable(volume.host)} does not serve {printable(volume.base_dir)} "
                f"({stats.not_served})",
                "Is it there, and in the worker's TEMP_FILE_ALLOWED_ROOTS?",
            )


def _balance(facts: Facts) -> Iterator[Problem]:
    if imbalance := sum(abs(stats.imbalance) for stats in facts.volumes.values()):
        yield error(
            "imbalance",
            "balance",
            f"Counts do not balance by {imbalance:,}",
            "Was the registry edited or partly lost? Compare tempfleet ls with the directory.",
        )


def _dead_letters(facts: Facts) -> Iterator[Problem]:
    if dead := facts.total("dead"):
        yield error(
            "dead-letters",
            "failures",
            f"{counted(dead, 'file')} could not be deleted; a person must decide",
            "Look at them with tempfleet dead ls. Then run tempfleet dead retry, or tempfleet dead forget.",
        )


def _clock(facts: Facts) -> Iterator[Problem]:
    for stats in facts.volumes.values():
        if (problem := clock_problem(stats)) is not None:
            yield error("clock", "clock", problem.text, problem.todo)


def _plugins(facts: Facts) -> Iterator[Problem]:
    for volume, stats in facts.volumes.items():
        for note in stats.plugins_off:
            if note.hook in (LOAD, BEFORE_DELETE):
                effect = "files that it decides about are kept (unless TEMP_FILE_PLUGIN_FAILED=go-on)"
            else:
                effect = "it is not called" if note.hook in HOOKS else "no file is evicted by its policy"
            yield error(
                "plugin-off",
                "plug-ins",
                f"{facts.of(volume)}Plug-in {note.plugin} is switched off ({note.hook}: {note.said}): {effect}",
                "Repair it and restart the workers, uninstall it, or leave it out of TEMP_FILE_PLUGINS.",
            )


def _eviction(facts: Facts) -> Iterator[Problem]:
    for volume, stats in facts.volumes.items():
        if stats.meta.get(FULL):
            yield warning(
                DISK_FULL,
                "eviction",
                f"{facts.of(volume)}The disk is above its high mark, and no other file can be evicted",
                "Make room by hand. Held files, files in use and unregistered files are never evicted.",
            )


def _hosts(facts: Facts) -> Iterator[Problem]:
    hosts = {host.name: host for host in facts.pulse.hosts}
    others = ", ".join(printable(host.name) for host in hosts.values() if host.live) or "none"
    for name in dict.fromkeys(volume.host for volume in facts.volumes):
        files = facts.total("active", host=name)
        host = hosts.get(name)
        if not files or not hosts or (host is not None and host.live):
            continue
        if host is not None:
            yield _silent(host, files, facts.total("due", host=name))
            continue
        yield warning(
            "no-worker",
            "hosts",
            f"No worker of host {printable(name)} is live (live: {others}), and none has ever run; "
            f"{counted(files, 'file is', 'files are')} registered for it",
            "Is TEMP_FILE_HOST right, and the same in the program and in its worker? If it is, start a worker there. "
            f"If the name is wrong, unregister the files: tempfleet --host {printable(name)} ls.",
        )


def _silent(host: Host, files: int, due: int) -> Problem:
    name, since = printable(host.name), duration(host.silent_seconds)
    if due:
        is_due = "is due" if due == 1 else "are due"
        text = f"{name} is silent, and {due:,} of its files {is_due}; it was last heard {since} ago"
    else:
        text = f"{name} has been silent for {since}; {counted(files, 'file waits', 'files wait')} there"
    todo = f"Start its worker. If the host does not come back, run tempfleet hosts retire {name}."
    return warning("silent-host", "hosts", text, todo)


def _overdue(facts: Facts) -> Iterator[Problem]:
    overdue = max((stats.overdue_seconds for stats in facts.volumes.values()), default=0)
    if overdue > facts.patience_seconds:
        yield warning(
            "overdue",
            "hosts",
            f"Files are overdue by {duration(overdue)}",
            "Does a worker of their host run? tempfleet explain tells what keeps one of them.",
        )


def _sweeps(facts: Facts) -> Iterator[Problem]:
    if (last_ms := facts.pulse.swept_ms) is None:
        return
    if facts.pulse.now_ms - last_ms > INTERVALS * 1000 * facts.sweep_interval_seconds:
        yield warning(
            "no-sweep",
            "hosts",
            f"No sweep for three intervals: does beat run? The last was "
            f"{duration((facts.pulse.now_ms - last_ms) / 1000)} ago",
            "Start one: celery -A tempfleet_tasks beat. Until then files go when the timers of their workers say so.",
        )


def _rejected(facts: Facts) -> Iterator[Problem]:
    if (problem := thrown_away(facts.pulse)) is not None:
        yield warning("messages-thrown-away", "messages", *problem)


def _redis_memory(facts: Facts) -> Iterator[Problem]:
    memory = facts.memory
    if memory and memory.max_bytes and memory.used_bytes > NEARLY_FULL * memory.max_bytes:
        yield warning(
            "redis-full",
            "redis memory",
            f"Redis is near its maxmemory: {size(memory.used_bytes)} of {size(memory.max_bytes)} are used",
            "Raise maxmemory. If Redis is full, it refuses registrations.",
        )


ROWS: Sequence[Callable[[Facts], Iterator[Problem]]] = (
    _roots,
    _not_served,
    _hosts,
    _sweeps,
    _overdue,
    _balance,
    _dead_letters,
    _clock,
    _plugins,
    _eviction,
    _rejected,
    _redis_memory,
)
