"""
Whether a volume works: the dictionary of the specification's health check.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..capacity import eviction_warnings, quota_warnings
from ..cleanup import RegistryPromises
from ..deletion import stranded
from ..errors import TempfleetError
from ..filesystem import Roots
from ..formatting import counted
from ..reconciliation import confirm_disks
from ..registry import Fleet, Memory, Registry, VolumeStats
from ..settings import Settings
from .disk_problems import disk_problems
from .facts import facts_of
from .problem import Problem, warning
from .problems import NO_WORKER_YET, NOTHING_TO_EVICT, problems_of

HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"


def health_check(registry: Registry, roots: Roots, settings: Settings) -> dict[str, Any]:
    """
    Check whether the volume works. Problems are returned, never raised.

    ``status`` is healthy, degraded (it works, but a person should look at ``warnings``) or unhealthy (it does not work:
    ``error``). ``problems`` are the warnings in parts, each with its code and remedy. ``notes`` do not degrade
    it: totals that never fall, and files that wait for a worker that has never run.
    """
    report: dict[str, Any] = {
        "status": HEALTHY,
        "base_dir": settings.base_dir,
        "max_age": settings.max_age_seconds,
        "host": settings.host,
        "timestamp": time.time(),
    }
    missing = roots.check()
    missing = roots.unavailable | missing
    if roots.base.path in missing:
        report.update(status=UNHEALTHY, error=f"Base directory not accessible: {missing[roots.base.path]}")
        return report
    try:
        stats, problems = _examine(registry, roots, settings, missing)
    except TempfleetError as exc:
        report.update(status=UNHEALTHY, error=str(exc))
        return report
    notes = [str(problem) for problem in problems if problem.code == NO_WORKER_YET]
    problems = [problem for problem in problems if problem.code != NO_WORKER_YET]
    report.update(active_files=stats.active, due=stats.due, dead=stats.dead, bytes=stats.bytes)
    if problems:
        warnings = [str(problem) for problem in problems]
        parts = [problem.as_dict() for problem in problems]
        report.update(status=DEGRADED, warning="; ".join(warnings), warnings=warnings, problems=parts)
    if replaced := stats.total("replaced"):
        names = counted(replaced, "name was", "names were")
        notes.append(f"{names} re-used for other files, which were kept")
    return report | ({"notes": notes} if notes else {})


def _examine(
    registry: Registry, roots: Roots, settings: Settings, missing: Mapping[str, str]
) -> tuple[VolumeStats, list[Problem]]:
    memory = Memory.of(registry.store.check_policy())
    stats = registry.stats()
    confirm_disks(stats, roots)
    missing = {**missing, **roots.check()}
    pulse = Fleet(registry.store, live_seconds=settings.host_live_seconds).pulse()
    facts = facts_of(settings, pulse, {registry.volume: stats}, memory=memory)
    problems = [problem for problem in problems_of(facts) if problem.code != NOTHING_TO_EVICT]
    problems += disk_problems(roots, missing)
    problems += _capacity(registry, roots, stats, settings)
    problems += _private(registry, roots)
    return stats, problems


def _private(registry: Registry, roots: Roots) -> Iterator[Problem]:
    """Those of other registries are their concern."""
    files = sum(not file.foreign for file in stranded(roots, RegistryPromises(registry), quarantine=False))
    where = "in the private directories without a record (tempfleet doctor lists them)"
    if files:
        yield warning("stranded", "private directory", f"{counted(files, 'file')} {where}")


def _capacity(registry: Registry, roots: Roots, stats: VolumeStats, settings: Settings) -> Iterator[Problem]:
    for text in quota_warnings(registry, stats, settings):
        yield warning("over-limit", "limits", text)
    for text in eviction_warnings(roots, settings, stats):
        yield warning(NOTHING_TO_EVICT, "eviction", text)
