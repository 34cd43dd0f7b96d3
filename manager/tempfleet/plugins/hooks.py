"""
What one volume's clean-ups ask of plug-ins and tell them, and what is said of plug-ins that fail.

It fails closed. A batch that a plug-in was asked about and gave no good answer for stays, whole, and so does every
later one until it answers: also when it is switched off, because nobody knows what it would have kept. Who would
rather lose its vetoes than disk space says TEMP_FILE_PLUGIN_FAILED=go-on: then what a plug-in that is switched off was
to be asked about goes.

Health is asked in other processes than those that delete, so the fact goes to the registry (scripts/note.lua). It
holds for a while and is said again while it is true: a process that has died says nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import PluginFailed, RegistryFull
from ..logs import logger
from ..records import Deletion, FileRecord, Outcome
from ..registry import Registry
from ..settings import OnPluginFailure, Settings
from .circuit_breaker import CircuitBreaker, nothing
from .plugin import Plugin
from .specification import AFTER, FAILURE, NEAR, Policy

VETO, FAILED = "veto", "plug-in"
"""The reasons that files are kept for: ``veto:NAME`` and ``plug-in:NAME``."""

NOTE_TIMERS = 3
"""A note holds for so many rounds of a worker's timer, each of which says it again."""


class Hooks:
    """The plug-ins, as one volume's engine sees them. Nothing here raises for what a plug-in does."""

    def __init__(self, plugins: Sequence[Plugin], registry: Registry, settings: Settings) -> None:
        self.plugins = plugins
        self.registry = registry
        self.eviction_policy = settings.eviction_policy
        self.goes_on = settings.plugin_failed is OnPluginFailure.GO_ON
        self.note_ms = int(NOTE_TIMERS * settings.timer_interval_seconds * 1000)
        self._failures: Counter[str] = Counter()
        self._noted: dict[str, str] = {}

    def vetoes(
        self, files: Sequence[FileRecord], *, meanwhile: Callable[[], object] = nothing
    ) -> dict[str, str]:
        """Path -> why it is to stay. Takes up to its time of each plug-in, during which *meanwhile* is called."""
        kept: dict[str, str] = {}
        for plugin in self.plugins if files else ():
            try:
                paths = plugin.before_delete(files, meanwhile=meanwhile)
            except PluginFailed as exc:
                self.failed(exc)
                if not (exc.is_off and self.goes_on):
                    return {file.path: f"{FAILED}:{plugin.name}" for file in files}
            else:
                kept |= {path: f"{VETO}:{plugin.name}" for path in paths if path not in kept}
        return kept

    def settled(self, deletions: Sequence[Deletion]) -> None:
        """Tell what became of a batch."""
        if self.plugins:
            self._tell(AFTER, [each for each in deletions if each.outcome is Outcome.DELETED])
            failed = (Outcome.FAILED, Outcome.REFUSED)
            self._tell(FAILURE, [each for each in deletions if each.outcome in failed])

    def near_expiry(self, files: Sequence[FileRecord]) -> bool:
        """Tell of files that are near their end; whether every listener took it."""
        return self._tell(NEAR, files)

    def eviction_policies(self) -> dict[str, Policy]:
        """Name -> policy, of those plug-ins that answer; of two with one name the first plug-in's."""
        found: dict[str, Policy] = {}
        for plugin in self.plugins:
            try:
                found = plugin.eviction_policies() | found
            except PluginFailed as exc:
                self.failed(exc)
        return found

    def failed(self, exc: PluginFailed) -> None:
        """Count a failed call, to be reported by ``note``."""
        if exc.counts:
            self._failures[exc.plugin] += 1

    def publish(self) -> None:
        """
        Count what failed, and say what is switched off, in the registry; take back what is well again.

        One round trip for each that has something to be said; none where all is well.
        """
        for plugin in self.plugins:
            for contained in list(plugin.contained.values()):
                said = contained.said if contained.is_off else ""
                failures = self._failures.pop(contained.name, 0)
                if failures or said or self._is_to_be_taken_back(contained):
                    self._publish(contained.name, failures, said)

    # -- inside

    def _tell(self, hook: str, told: Sequence[Any]) -> bool:
        all_took_it = True
        for plugin in self.plugins if told else ():
            try:
                plugin.tell(hook, told)
            except PluginFailed as exc:
                self.failed(exc)
                all_took_it = False
        return all_took_it

    def _is_to_be_taken_back(self, contained: CircuitBreaker) -> bool:
        """What a process before us may have said, once; and what we said ourselves."""
        return contained.answered and self._noted.get(contained.name) != ""

    def _publish(self, name: str, failures: int, said: str) -> None:
        try:
            self.registry.record_plugin(name, failures=failures, said=said, hold_ms=self.note_ms)
        except RegistryFull as exc:
            self._failures[name] += failures
            logger.warning("What plug-in %s came to was not noted: %s", name, exc)
        else:
            self._noted[name] = said
