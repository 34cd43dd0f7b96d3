"""
Calls the hooks of all plug-ins for one volume, and publishes which plug-ins fail.

It fails closed. If a plug-in does not answer properly for a batch, no file of the batch is deleted. The same holds for
every later batch until the plug-in answers, also while it is switched off, because its vetoes are unknown. With
TEMP_FILE_PLUGIN_FAILED=go-on, files are deleted without asking a disabled plug-in.

Health is checked in other processes than those that delete, so the failures go to the registry
(scripts/record_plugin.lua). An entry there expires and is renewed while it is true, because a process that has died
cannot remove it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..errors import PluginFailed, RegistryFull
from ..logs import logger
from ..records import Deletion, FileRecord, Outcome
from ..registry import Registry
from ..settings import OnPluginFailure, Settings
from .circuit_breaker import CircuitBreaker
from .plugin import Plugin
from .specification import AFTER_DELETE, NEAR_EXPIRY, ON_FAILURE, Policy

VETO, FAILED = "veto", "plug-in"
"""Reasons why a file is kept: ``veto:NAME`` and ``plug-in:NAME``."""

HELD_TIMERS = 3
"""A published failure expires after so many rounds of a worker's timer; each round renews it."""


class Hooks:
    """All plug-ins, for the clean-ups of one volume. No method raises because a plug-in failed."""

    def __init__(self, plugins: Sequence[Plugin], registry: Registry, settings: Settings) -> None:
        self.plugins = plugins
        self.registry = registry
        self.eviction_policy = settings.eviction_policy
        self.goes_on = settings.plugin_failed is OnPluginFailure.GO_ON
        self.hold_ms = int(HELD_TIMERS * settings.timer_interval_seconds * 1000)
        self._failures: Counter[str] = Counter()
        self._published: dict[str, str] = {}

    def vetoes(self, files: Sequence[FileRecord]) -> dict[str, str]:
        """Returns path -> reason of the files that must stay. Each plug-in may take its full time."""
        reasons: dict[str, str] = {}
        for plugin in self.plugins if files else ():
            try:
                paths = plugin.before_delete(files)
            except PluginFailed as exc:
                self.count_failure(exc)
                if not (exc.is_off and self.goes_on):
                    return {file.path: f"{FAILED}:{plugin.name}" for file in files}
            else:
                reasons |= {path: f"{VETO}:{plugin.name}" for path in paths if path not in reasons}
        return reasons

    def notify_settled(self, deletions: Sequence[Deletion]) -> None:
        """Pass the results of a batch to the plug-ins."""
        if self.plugins:
            deleted = [deletion for deletion in deletions if deletion.outcome is Outcome.DELETED]
            failures = (Outcome.FAILED, Outcome.REFUSED)
            self._notify(AFTER_DELETE, deleted)
            self._notify(ON_FAILURE, [deletion for deletion in deletions if deletion.outcome in failures])

    def notify_near_expiry(self, files: Sequence[FileRecord]) -> bool:
        """Pass files that are close to expiry to the plug-ins; returns whether every plug-in accepted them."""
        return self._notify(NEAR_EXPIRY, files)

    def eviction_policies(self) -> dict[str, Policy]:
        """Returns name -> policy of the plug-ins that answer. If two have the same name, the first plug-in's counts."""
        policies: dict[str, Policy] = {}
        for plugin in self.plugins:
            try:
                policies = plugin.eviction_policies() | policies
            except PluginFailed as exc:
                self.count_failure(exc)
        return policies

    def count_failure(self, exc: PluginFailed) -> None:
        """Count a failed call; ``publish`` reports it."""
        if exc.counts:
            self._failures[exc.plugin] += 1

    def publish(self) -> None:
        """
        Write to the registry how many calls failed and what is switched off, and remove what works again.

        One round trip for each function with news; none if all work.
        """
        for plugin in self.plugins:
            for breaker in list(plugin.breakers.values()):
                message = breaker.last_failure if breaker.is_off else ""
                failures = self._failures.pop(breaker.name, 0)
                if failures or message or self._may_be_published(breaker):
                    self._publish(breaker.name, failures, message)

    # -- inside

    def _notify(self, hook: str, values: Sequence[Any]) -> bool:
        all_accepted = True
        for plugin in self.plugins if values else ():
            try:
                plugin.notify(hook, values)
            except PluginFailed as exc:
                self.count_failure(exc)
                all_accepted = False
        return all_accepted

    def _may_be_published(self, breaker: CircuitBreaker) -> bool:
        """Whether the registry may still list it as switched off, by this process or by one before it."""
        return breaker.has_succeeded and self._published.get(breaker.name) != ""

    def _publish(self, name: str, failures: int, message: str) -> None:
        try:
            self.registry.record_plugin(name, failures=failures, reason=message, hold_ms=self.hold_ms)
        except RegistryFull as exc:
            self._failures[name] += failures
            logger.warning("The failures of plug-in %s were not recorded: %s", name, exc)
        else:
            self._published[name] = message
