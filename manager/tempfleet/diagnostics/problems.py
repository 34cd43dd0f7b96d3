"""
The one list of problems: what the registry tells is wrong, and what to do. Health, doctor, the status page and explain
show these; none of them decides by itself.

A new problem is one more function in ROWS. It gets Facts and yields Problems. It reads nothing, so the list costs no
round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..formatting import counted, duration, shell_word, size
from ..logs import printable
from ..plugins import BEFORE_DELETE, HOOKS, LOAD
from ..registry import FULL, NAMESAKES, Fleet, Host, Registry, Volume
from ..settings import MAX_BATCH, Settings
from .clock import clock_problem
from .facts import INTERVALS, Facts, facts_of
from .problem import Problem, error, warning
from .thrown_away import thrown_away
from .unavailable import unavailable

NEARLY_FULL = 0.85
"""Above this share of Redis's maxmemory there is a problem; the alert TempfleetRedisNearlyFull has the same."""
NO_WORKER_YET = "no-worker-yet"
"""Among the notes of health, because a program may still clean up by itself."""
KEEPING = frozenset({NO_WORKER_YET, "no-worker", "silent-host", "not-served", "clock"})
"""These keep expired files; explain shows them."""
NOTHING_TO_EVICT = "nothing-to-evict"
"""The code of a problem that health measures instead: the registry knows it from the last eviction."""


def problems_of(facts: Facts) -> list[Problem]:
    """Every problem that the facts show, without repetitions."""
    return list(dict.fromkeys(problem for row in ROWS for problem in row(facts)))


def keeping(registry: Registry, settings: Settings) -> list[Problem]:
    """Returns the problems that keep the expired files of a volume."""
    pulse = Fleet(registry.store, live_seconds=settings.host_live_seconds).pulse()
    facts = facts_of(settings, pulse, {registry.volume: registry.stats()})
    return [problem for problem in problems_of(facts) if problem.code in KEEPING]


def registered_elsewhere(registry: Registry, settings: Settings, path: str) -> list[Problem]:
    """
    Returns a problem for each other volume that has *path*, which is not in this one: of this host, or of a host that
    no worker has. The same path on a host with a worker is another file.
    """
    fleet, own = Fleet(registry.store, live_seconds=settings.host_live_seconds), registry.volume
    hosts = fleet.hosts()
    others = [v for v in fleet.volumes() if v.host == own.host or v.host not in {host.name for host in hosts}]
    found = fleet.inside([volume for volume in others if volume != own][:MAX_BATCH], [path])
    return [
        _elsewhere(volume, own, hosts) for volume, files in found.items() if isinstance(files, list) and files
    ]


def _elsewhere(volume: Volume, own: Volume, hosts: Sequence[Host]) -> Problem:
    text = f"It is registered {volume.in_words}"
    if volume.host == own.host:
        todo = f"Ask with tempfleet --base-dir {shell_word(volume.base_dir)} explain."
    else:
        text, todo = f"{text}, and no worker of that host is known", unknown_host(volume.host, hosts, 1).todo
    return warning("registered-elsewhere", "hosts", text, todo)


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
                NOTHING_TO_EVICT,
                "eviction",
                f"{facts.of(volume)}The disk is above its high mark, and no other file can be evicted",
                "Make room by hand. Held files, files in use and unregistered files are never evicted.",
            )


def _namesakes(facts: Facts) -> Iterator[Problem]:
    for volume, stats in facts.volumes.items():
        if files := int(stats.meta.get(NAMESAKES, 0)):
            yield warning(
                "namesake",
                "quarantine",
                f"{facts.of(volume)}{counted(files, 'quarantined file')} in {printable(volume.base_dir)} of another "
                "registry with the same names; nobody purges them here",
                "If Redis lost its data, tempfleet adopt --quarantine takes them over. If there is another Redis, give "
                "it another TEMP_FILE_HOST or TEMP_FILE_NAMESPACE.",
            )


def _hosts(facts: Facts) -> Iterator[Problem]:
    hosts = {host.name: host for host in facts.pulse.hosts}
    for name in dict.fromkeys(volume.host for volume in facts.volumes):
        files, host = facts.total("active", host=name), hosts.get(name)
        if not files or (host is not None and (host.live or host.ephemeral_seconds)):
            # A sweep forgets a silent host that is ephemeral; nobody has to do anything.
            continue
        if host is not None:
            yield _silent(host, files, facts.total("due", host=name))
        elif hosts:
            yield unknown_host(name, facts.pulse.hosts, files)
        elif files := facts.total("active", host=name, uncleaned=True):
            yield _nobody(name, files, facts.total("due", host=name, uncleaned=True))


def _nobody(name: str, files: int, due: int) -> Problem:
    are = counted(files, "file is", "files are")
    return warning(
        "no-worker" if due else NO_WORKER_YET,
        "hosts",
        f"No worker has ever run and no program has cleaned up, so nobody deletes expired files; {are} registered "
        f"for {printable(name)}"
        + (f", and {due:,} of them {'is' if due == 1 else 'are'} due" if due else ""),
        f"Start a worker with TEMP_FILE_HOST={shell_word(name)} and the same TEMP_FILE_REDIS_URL and "
        "TEMP_FILE_NAMESPACE: celery -A tempfleet_tasks worker. Without workers, call cleanup() regularly.",
    )


def unknown_host(name: str, hosts: Sequence[Host], files: int) -> Problem:
    """The likeliest mistake: TEMP_FILE_HOST differs between program and worker. *files* is 0 if it is not known."""
    live = ", ".join(printable(host.name) for host in hosts if host.live) or "none"
    are = f"; {counted(files, 'file is', 'files are')} registered for it" if files else ""
    return warning(
        "no-worker",
        "hosts",
        f"No worker of host {printable(name)} is live (live: {live}), and none is known{are}",
        "Is TEMP_FILE_HOST right, and the same in the program and in its worker? If it is, start a worker of that "
        f"host. If the name is wrong, or the host is gone, run {_forget(name)}.",
    )


def _silent(host: Host, files: int, due: int) -> Problem:
    name, since = printable(host.name), duration(host.silent_seconds)
    if due:
        is_due = "is due" if due == 1 else "are due"
        text = f"{name} is silent, and {due:,} of its files {is_due}; it was last heard {since} ago"
    else:
        text = f"{name} has been silent for {since}; {counted(files, 'file waits', 'files wait')} there"
    todo = f"Start its worker. If the host does not come back, run {_forget(host.name)}."
    return warning("silent-host", "hosts", text, todo)


def _forget(name: str) -> str:
    """The command that forgets a host."""
    return f"tempfleet hosts forget {'-- ' if name.startswith('-') else ''}{shell_word(name)}"


def _overdue(facts: Facts) -> Iterator[Problem]:
    forgettable = {host.name for host in facts.pulse.hosts if host.ephemeral_seconds and not host.live}
    overdue = max(
        (stats.overdue_seconds for volume, stats in facts.volumes.items() if volume.host not in forgettable),
        default=0,
    )
    if overdue > facts.patience_seconds:
        yield warning(
            "overdue",
            "hosts",
            f"Files are overdue by {duration(overdue)}",
            "Does a worker of their host run? tempfleet explain tells what keeps one of them.",
        )


def _unavailable(facts: Facts) -> Iterator[Problem]:
    return unavailable(facts.volumes, facts.pulse.now_ms)


def _sweeps(facts: Facts) -> Iterator[Problem]:
    seconds = facts.pulse.unswept_seconds
    if seconds <= INTERVALS * facts.sweep_interval_seconds:
        return
    if facts.pulse.swept_ms is None:
        if not any(host.live for host in facts.pulse.hosts):
            return  # _hosts says it
        code, text = (
            "never-swept",
            f"Workers have run for {duration(seconds)}, but no sweep was ever recorded",
        )
    else:
        code, text = "no-sweep", f"No sweep for three intervals; the last was {duration(seconds)} ago"
    yield warning(
        code,
        "hosts",
        f"{text}: does beat run?",
        "Run celery -A tempfleet_tasks beat with the settings of the workers. Until then only timers clean.",
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
    _not_served,
    _hosts,
    _sweeps,
    _overdue,
    _unavailable,
    _balance,
    _dead_letters,
    _clock,
    _plugins,
    _eviction,
    _rejected,
    _namesakes,
    _redis_memory,
)
