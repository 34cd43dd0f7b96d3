"""
Plug-ins: what they may say, and how they are found.

A plug-in is a module, an object or a class behind an entry point of the group ``tempfleet.plugins``, with functions
marked by ``hookimpl`` (pluggy's marker):

    from tempfleet.plugins import hookimpl

    @hookimpl
    def tempfleet_before_delete(files):
        return [file.path for file in files if "legal" in file.tags]

What hooks are given is theirs to keep: immutable values, which lead nowhere. A hook is called with a whole batch, on a
thread that is not its caller's, possibly in several threads at once, and has TEMP_FILE_PLUGIN_TIMEOUT seconds.

Loading is a call like any other, contained and tried again: nobody knows what a plug-in that does not load would have
kept, so it counts as one that failed to say.
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
from .circuit_breaker import CircuitBreaker, nothing
from .specification import (
    BEFORE,
    GROUP,
    HOOKS,
    LOAD,
    NEAR,
    POLICIES,
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


class Nonsense(TypeError):
    """A plug-in answered what cannot be an answer."""


@dataclass(frozen=True, slots=True)
class About:
    """What people are told of a plug-in; *hooks* is empty and *failures* says why where it does not load."""

    name: str
    version: str
    where: str
    hooks: tuple[str, ...]
    failures: tuple[str, ...]


class Plugin:
    """One plug-in. Any method raises PluginFailed where it, or its loading, fails; see containment.py."""

    def __init__(self, name: str, entry: EntryPoint | None, *, seconds: float) -> None:
        self.name = NOT_IN_A_NAME.sub("_", name)[:64]  # it goes into logs, audit lines and labels
        self.entry = entry
        self.contained = {
            hook: CircuitBreaker(f"{self.name}.{hook}", seconds=seconds) for hook in (LOAD, *HOOKS)
        }
        self._loaded: list[pluggy.PluginManager] = []  # appended to by the thread that loads, be it late

    def before_delete(
        self, files: Sequence[FileRecord], *, meanwhile: Callable[[], object] = nothing
    ) -> frozenset[str]:
        """The paths that it vetoes."""
        paths = {file.path for file in files}

        def read(answer: Any) -> frozenset[str]:
            if isinstance(answer, str | bytes):
                raise Nonsense("the answer is a list of paths, not text")
            kept = frozenset(islice(answer, len(paths) + 1))
            if not kept <= paths:
                raise Nonsense("the answer has what is no path of the batch")
            return kept

        return self._call(BEFORE, frozenset[str](), read, meanwhile, files=tuple(files))

    def tell(self, hook: str, told: Sequence[Any]) -> None:
        """Call one of the hooks that are only told something."""
        argument = "files" if hook == NEAR else "deletions"
        self._call(hook, None, lambda _answer: None, nothing, **{argument: tuple(told)})

    def eviction_policies(self) -> dict[str, Policy]:
        def read(answer: Any) -> dict[str, ScoreFunction]:
            policies = dict(islice(answer.items(), MOST_POLICIES))
            for name, score in policies.items():
                if not (isinstance(name, str) and POLICY_NAME.fullmatch(name) and callable(score)):
                    raise Nonsense(f"{name!r} -> {score!r} is not a policy's name and its score function")
            return policies

        policies = self._call(POLICIES, dict[str, ScoreFunction](), read, nothing)
        return {name: partial(self._scores, name, score) for name, score in policies.items()}

    def about(self) -> About:
        """All that is known of it; loads it."""
        hooks: tuple[str, ...] = ()
        said: tuple[str, ...]
        try:
            manager = self._load(nothing)
            hooks = tuple(hook for hook in HOOKS if _implements(manager, hook))
        except PluginFailed as exc:
            said = (f"{LOAD}: {exc}",)
        else:
            said = tuple(f"{hook}: {each.said}" for hook, each in self.contained.items() if each.is_off)
        dist = self.entry.dist if self.entry is not None else None
        where = self.entry.value if self.entry is not None else ""
        return About(self.name, dist.version if dist is not None else "", where, hooks, said)

    # -- inside

    def _call(
        self, hook: str, default: T, read: Callable[[Any], T], meanwhile: Callable[[], object], **told: Any
    ) -> T:
        """What *read* makes of the answer, inside the containment; *default* for no answer."""
        manager = self._load(meanwhile)
        if not _implements(manager, hook):
            return default

        def work() -> T:
            answers = getattr(manager.hook, PREFIX + hook)(**told)
            return read(answers[0]) if answers else default

        return self.contained[hook].call(work, meanwhile=meanwhile)

    def _scores(self, name: str, score: ScoreFunction, candidates: Sequence[Candidate]) -> list[float]:
        """Returns the scores of a page of candidates. One call for the page, because each call costs a thread."""

        def work() -> list[float]:
            scores = [float(score(candidate)) for candidate in candidates]
            # NaN compares as neither less nor greater, so a single one would make the order of all undefined.
            if any(map(math.isnan, scores)):
                raise Nonsense("a score is not a number")
            return scores

        new = CircuitBreaker(f"{self.name}.{name}", seconds=self.contained[POLICIES].seconds)
        return self.contained.setdefault(f"{POLICIES}.{name}", new).call(work) if candidates else []

    def _load(self, meanwhile: Callable[[], object]) -> pluggy.PluginManager:
        load = self.contained[LOAD]
        if not self._loaded:
            load.call(self._register, meanwhile=meanwhile)
        elif load.said:  # it hung, and has come to its end behind our back
            load.mend()
        return self._loaded[0]

    def _register(self) -> None:
        """A manager for each plug-in, so that none sees, wraps or fails another."""
        if self.entry is None:
            raise LookupError("no installed package has a plug-in of that name (TEMP_FILE_PLUGINS)")
        plugin = self.entry.load()
        manager = pluggy.PluginManager("tempfleet")
        manager.add_hookspecs(Specification)
        manager.register(plugin() if isinstance(plugin, type) else plugin, self.name)
        manager.check_pending()  # a hook of ours that is misspelt would never veto anything
        if not any(_implements(manager, hook) for hook in HOOKS):
            raise LookupError("it has no hook; is @hookimpl missing?")
        for hook in HOOKS:  # a veto that is never asked would be as bad
            if hasattr(plugin, PREFIX + hook) and not _implements(manager, hook):
                raise LookupError(f"{PREFIX + hook} is no hook; is @hookimpl missing?")
        self._loaded.append(manager)


def _implements(manager: pluggy.PluginManager, hook: str) -> bool:
    return bool(getattr(manager.hook, PREFIX + hook).get_hookimpls())


def installed(settings: Settings) -> tuple[Plugin, ...]:
    """
    The plug-ins that the settings want, by name; found once in a process, loaded when they are first asked.

    One for the whole process: what hangs for one manager is not called by another. One that is wanted by name and not
    installed is there too, and fails.
    """
    return _installed(settings.plugins, settings.plugin_timeout_seconds)


@cache
def _installed(wanted: str, seconds: float) -> tuple[Plugin, ...]:
    if wanted == NO_PLUGINS:
        return ()
    found: list[tuple[str, EntryPoint | None]] = [(entry.name, entry) for entry in entry_points(group=GROUP)]
    if wanted != ALL_PLUGINS:
        names = set(wanted.split(","))
        missing = names - {name for name, _ in found}
        found = [each for each in found if each[0] in names] + [(name, None) for name in missing]
    known: Counter[str] = Counter()
    plugins = []
    for name, entry in sorted(found, key=itemgetter(0)):
        known[name] += 1  # two packages may use one name, and each has its say
        label = name if known[name] == 1 else f"{name}-{known[name]}"
        plugins.append(Plugin(label, entry, seconds=seconds))
    return tuple(plugins)
