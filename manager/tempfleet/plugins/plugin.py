"""
Finds, loads and calls one plug-in.

A plug-in is a module, an object or a class behind an entry point of the group ``tempfleet.plugins``, with functions
marked by ``hookimpl`` (pluggy's marker):

    from tempfleet.plugins import hookimpl

    @hookimpl
    def tempfleet_before_delete(files):
        return [file.path for file in files if "legal" in file.tags]

Hooks get immutable values without references to our objects, so they may keep them. A hook is called with a whole
batch, on its own thread, possibly on several threads at once, and has TEMP_FILE_PLUGIN_TIMEOUT seconds.

Loading has a time limit and a circuit breaker too, and is tried again. While a plug-in does not load, its vetoes are
unknown, so each of its calls fails.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from itertools import islice
from operator import itemgetter
from typing import Any, TypeVar

import pluggy

from ..errors import PluginFailed
from ..records import FileRecord
from ..settings import ALL_PLUGINS, NO_PLUGINS, Settings
from .circuit_breaker import CircuitBreaker
from .specification import (
    BEFORE_DELETE,
    EVICTION_POLICIES,
    GROUP,
    HOOKS,
    LOAD,
    NEAR_EXPIRY,
    PREFIX,
    Candidate,
    Policy,
    ScoreFunction,
    Specification,
)

NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")
POLICY_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
MOST_POLICIES = 32

T = TypeVar("T")


class InvalidAnswer(TypeError):
    """The answer of a hook has a wrong type or a wrong value."""


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plug-in as people see it. If it does not load, *hooks* is empty and *failures* contains the reason."""

    name: str
    version: str
    where: str
    hooks: tuple[str, ...]
    failures: tuple[str, ...]


class Plugin:
    """One plug-in. Every method raises PluginFailed if the call, or the loading, fails; see circuit_breaker.py."""

    def __init__(self, name: str, entry: EntryPoint | None, *, seconds: float) -> None:
        # The name appears in logs, audit lines and labels.
        self.name = NOT_IN_A_NAME.sub("_", name)[:64]
        self.entry = entry
        self.breakers = {
            hook: CircuitBreaker(f"{self.name}.{hook}", seconds=seconds) for hook in (LOAD, *HOOKS)
        }
        # The loading thread appends to it, even after its time limit.
        self._loaded: list[pluggy.PluginManager] = []

    def before_delete(self, files: Sequence[FileRecord]) -> frozenset[str]:
        """Returns the paths that the plug-in vetoes."""
        paths = {file.path for file in files}

        def read(answer: Any) -> frozenset[str]:
            if isinstance(answer, str | bytes):
                raise InvalidAnswer("the answer must be a list of paths, not text")
            vetoed = frozenset(islice(answer, len(paths) + 1))
            if not vetoed <= paths:
                raise InvalidAnswer("the answer contains something that is not a path of the batch")
            return vetoed

        return self._call(BEFORE_DELETE, frozenset[str](), read, files=tuple(files))

    def notify(self, hook: str, values: Sequence[Any]) -> None:
        """Call a hook whose answer does not matter."""
        argument = "files" if hook == NEAR_EXPIRY else "deletions"
        self._call(hook, None, lambda _answer: None, **{argument: tuple(values)})

    def eviction_policies(self) -> dict[str, Policy]:
        def read(answer: Any) -> dict[str, ScoreFunction]:
            policies = dict(islice(answer.items(), MOST_POLICIES))
            for name, score in policies.items():
                if not (isinstance(name, str) and POLICY_NAME.fullmatch(name) and callable(score)):
                    raise InvalidAnswer(
                        f"{name!r} -> {score!r} is not the name and the score function of a policy"
                    )
            return policies

        policies = self._call(EVICTION_POLICIES, dict[str, ScoreFunction](), read)
        return {name: partial(self._scores, name, score) for name, score in policies.items()}

    def info(self) -> PluginInfo:
        """Load the plug-in and describe it."""
        hooks: tuple[str, ...] = ()
        failures: tuple[str, ...]
        try:
            manager = self._load()
            hooks = tuple(hook for hook in HOOKS if _implements(manager, hook))
        except PluginFailed as exc:
            failures = (f"{LOAD}: {exc}",)
        else:
            failures = tuple(
                f"{hook}: {breaker.last_failure}" for hook, breaker in self.breakers.items() if breaker.is_off
            )
        dist = self.entry.dist if self.entry is not None else None
        where = self.entry.value if self.entry is not None else ""
        return PluginInfo(self.name, dist.version if dist is not None else "", where, hooks, failures)

    # -- inside

    def _call(
        self,
        hook: str,
        default: T,
        read: Callable[[Any], T],
        **arguments: Any,
    ) -> T:
        """Returns ``read(answer)``, which also runs inside the time limit; *default* if there is no answer."""
        manager = self._load()
        if not _implements(manager, hook):
            return default

        def work() -> T:
            answers = getattr(manager.hook, PREFIX + hook)(**arguments)
            return read(answers[0]) if answers else default

        return self.breakers[hook].call(work)

    def _scores(self, name: str, score: ScoreFunction, candidates: Sequence[Candidate]) -> list[float]:
        """Returns the scores of a page of candidates. One call for the page, because each call costs a thread."""

        def work() -> list[float]:
            scores = [float(score(candidate)) for candidate in candidates]
            # NaN compares as neither less nor greater, so a single one would make the order of all undefined.
            if any(map(math.isnan, scores)):
                raise InvalidAnswer("a score is not a number")
            return scores

        new = CircuitBreaker(f"{self.name}.{name}", seconds=self.breakers[EVICTION_POLICIES].seconds)
        return self.breakers.setdefault(f"{EVICTION_POLICIES}.{name}", new).call(work) if candidates else []

    def _load(self) -> pluggy.PluginManager:
        load = self.breakers[LOAD]
        if not self._loaded:
            load.call(self._register)
        elif load.last_failure:
            # Loading took too long, but has finished since.
            load.reset()
        return self._loaded[0]

    def _register(self) -> None:
        """Each plug-in has its own manager, so that it cannot see, wrap or break another."""
        if self.entry is None:
            raise LookupError("no installed package has a plug-in of that name (TEMP_FILE_PLUGINS)")
        plugin = self.entry.load()
        manager = pluggy.PluginManager("tempfleet")
        manager.add_hookspecs(Specification)
        manager.register(plugin() if isinstance(plugin, type) else plugin, self.name)
        # A misspelt hook would never veto anything.
        manager.check_pending()
        if not any(_implements(manager, hook) for hook in HOOKS):
            raise LookupError("it has no hook; is @hookimpl missing?")
        # Nor would a veto without @hookimpl.
        for hook in HOOKS:
            if hasattr(plugin, PREFIX + hook) and not _implements(manager, hook):
                raise LookupError(f"{PREFIX + hook} is not a hook; is @hookimpl missing?")
        self._loaded.append(manager)


def _implements(manager: pluggy.PluginManager, hook: str) -> bool:
    return bool(getattr(manager.hook, PREFIX + hook).get_hookimpls())


def installed(settings: Settings) -> tuple[Plugin, ...]:
    """
    Returns the plug-ins that the settings name, sorted by name. They are found once in a process, and loaded at their
    first call.

    The whole process shares them, so a plug-in that hangs in one manager is not called by another. A plug-in that the
    settings name and that is not installed is returned too; its calls fail.
    """
    return _installed(settings.plugins, settings.plugin_timeout_seconds)


@cache
def _installed(wanted: str, seconds: float) -> tuple[Plugin, ...]:
    if wanted == NO_PLUGINS:
        return ()
    entries: list[tuple[str, EntryPoint | None]] = [
        (entry.name, entry) for entry in entry_points(group=GROUP)
    ]
    if wanted != ALL_PLUGINS:
        names = set(wanted.split(","))
        missing = names - {name for name, _ in entries}
        entries = [(name, entry) for name, entry in entries if name in names]
        entries += [(name, None) for name in missing]
    counts: Counter[str] = Counter()
    plugins = []
    for name, entry in sorted(entries, key=itemgetter(0)):
        # Two packages may use the same name; both are called.
        counts[name] += 1
        label = name if counts[name] == 1 else f"{name}-{counts[name]}"
        plugins.append(Plugin(label, entry, seconds=seconds))
    return tuple(plugins)
