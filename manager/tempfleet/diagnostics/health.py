"""
Whether a volume works: the dictionary of the specification's health check.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..capacity import eviction_warnings, quota_warnings
from ..cleanup import RegistryPromises
from ..deletion import stranded
from ..errors import TempfleetError
from ..filesystem import Roots
from ..formatting import counted, duration
from ..logs import printable
from ..plugins import BEFORE_DELETE, HOOKS, LOAD
from ..reconciliation import confirm_disks
from ..registry import Fleet, Host, PluginNote, Registry, Volume, VolumeStats
from ..settings import Settings
from .clock import clock_problem

HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"


def health_check(registry: Registry, roots: Roots, settings: Settings) -> dict[str, Any]:
    """
    Check whether the volume works. Problems are returned, never raised.

    ``status`` is healthy, degraded (it works, but a person should look at ``warnings``) or unhealthy (it does not work:
    ``error``). ``notes`` need no action: they are about totals that never fall.
    """
    report: dict[str, Any] = {
        "status": HEALTHY,
        "base_dir": settings.base_dir,
        "max_age": settings.max_age_seconds,
        "host": settings.host,
        "timestamp": time.time(),
    }
    missing = roots.unavailable | roots.check()
    if roots.base.path in missing:
        report.update(status=UNHEALTHY, error=f"Base directory not accessible: {missing[roots.base.path]}")
        return report
    try:
        registry.store.check_policy()
        stats = registry.stats()
        over_limits = [*quota_warnings(registry, stats, settings), *eviction_warnings(roots, settings, stats)]
        confirm_disks(stats, roots)
        hosts = Fleet(registry.store, live_seconds=settings.host_live_seconds).hosts()
        inside = _private_warnings(registry, roots)
    except TempfleetError as exc:
        report.update(status=UNHEALTHY, error=str(exc))
        return report
    warnings = [f"Root {root} is unavailable: {why}" for root, why in (missing | roots.check()).items()]
    if why := roots.no_rights():
        warnings.append(f"Nothing can be deleted in {printable(roots.base.path)}: {why}; run as its owner")
    warnings += [not_served_warning(registry.volume, stats)] if stats.not_served else []
    warnings += _warnings(stats, settings) + host_warnings(stats, settings, hosts) + over_limits + inside
    report.update(active_files=stats.active, due=stats.due, dead=stats.dead, bytes=stats.bytes)
    if warnings:
        report.update(status=DEGRADED, warning="; ".join(warnings), warnings=warnings)
    if replaced := stats.total("replaced"):
        names = counted(replaced, "name was", "names were")
        report["notes"] = [f"{names} re-used for other files, which were kept"]
    return report


def not_served_warning(volume: Volume, stats: VolumeStats) -> str:
    """A warning about a volume that the worker of its host does not serve, with the worker's reason."""
    return (
        f"The worker of host {printable(volume.host)} does not serve {printable(volume.base_dir)} "
        f"({stats.not_served}): is it there, and in the worker's TEMP_FILE_ALLOWED_ROOTS?"
    )


def _private_warnings(registry: Registry, roots: Roots) -> list[str]:
    """Those of other registries are their concern."""
    files = sum(not file.foreign for file in stranded(roots, RegistryPromises(registry), quarantine=False))
    where = "in the private directories without a record (tempfleet doctor lists them)"
    return [f"{counted(files, 'file')} {where}"] if files else []


def _warnings(stats: VolumeStats, settings: Settings) -> list[str]:
    warnings = []
    if stats.imbalance:
        warnings.append(
            f"Counts do not balance by {stats.imbalance}: was the registry edited or partly lost?"
        )
    if stats.dead:
        files = counted(stats.dead, "file")
        warnings.append(f"{files} could not be deleted; a person must decide (tempfleet dead ls)")
    if (problem := clock_problem(stats)) is not None:
        warnings.append(f"{problem.text}. {problem.todo}")
    warnings += [_plugin_warning(note) for note in stats.plugins_off]
    if stats.overdue_seconds > 3 * settings.timer_interval_seconds:
        warnings.append(
            f"Files are overdue by {duration(stats.overdue_seconds)}: does a worker of this host run?"
        )
    return warnings


def _plugin_warning(note: PluginNote) -> str:
    if note.hook in (LOAD, BEFORE_DELETE):
        effect = "files that it decides about are kept (unless TEMP_FILE_PLUGIN_FAILED=go-on)"
    else:
        effect = "it is not called" if note.hook in HOOKS else "no file is evicted by its policy"
    return f"Plug-in {note.plugin} is switched off ({note.hook}: {note.said}): {effect}; repair or remove it"


def host_warnings(stats: VolumeStats, settings: Settings, hosts: Sequence[Host]) -> list[str]:
    """A warning if no worker of this host is live; usually TEMP_FILE_HOST of program and worker differ."""
    live = [host.name for host in hosts if host.live]
    if not stats.active or not hosts or settings.host in live:
        return []
    others = ", ".join(live) or "none"
    return [
        f"No worker of host {settings.host} is live (live: {others}): is TEMP_FILE_HOST right, and does a worker run?"
    ]
