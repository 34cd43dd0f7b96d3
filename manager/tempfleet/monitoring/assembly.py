"""
Build the site of a process from its manager and its fleet.
"""

from __future__ import annotations

from collections.abc import Callable

from ..diagnostics import disk_problems
from ..errors import RegistryError
from ..manager import TempFileManager
from ..plugins import installed
from ..registry import Fleet
from ..settings import is_loopback
from .metrics import FleetCollector, prometheus_registry
from .site import Checks, Site
from .snapshot import take_snapshot
from .status_page import status_page


def make_site(
    manager: TempFileManager,
    fleet: Fleet,
    *,
    alive: Callable[[], Checks] = dict,
    ready: Callable[[], Checks] | None = None,
    all_volumes: bool = False,
) -> Site:
    """
    Build the pages of one process, by its settings.

    Args:
        ready: the checks of ``/readyz``; by default those of a process without a worker: see ``process_checks``.
        all_volumes: show the volumes of every host in ``/metrics``, like TEMP_FILE_METRICS_ALL_VOLUMES.
    """
    settings = manager.settings
    collector = FleetCollector(
        fleet,
        host=None if all_volumes or settings.metrics_all_volumes else settings.host,
        own=manager.volume,
        roots=manager.roots,
        sweep_interval_seconds=settings.cleanup_interval_seconds,
        plugins=installed(settings),
    )
    return Site(
        metrics=prometheus_registry(collector),
        alive=alive,
        ready=ready or (lambda: process_checks(manager, fleet)),
        health=manager.health_check,
        page=(lambda: render_page(manager, fleet)) if settings.serves_status_page else None,
        loopback_only=is_loopback(settings.metrics_address),
    )


def render_page(manager: TempFileManager, fleet: Fleet) -> str:
    roots = manager.roots
    missing = roots.check()
    problems = disk_problems(roots, roots.unavailable | missing)
    return status_page(take_snapshot(fleet, manager.settings, disk_problems=problems))


def process_checks(manager: TempFileManager, fleet: Fleet) -> Checks:
    """What a process without a worker needs: the base directory and Redis."""
    checks = host_checks(manager, fleet)
    return {name: checks[name] for name in ("base_dir", "redis")}


def host_checks(manager: TempFileManager, fleet: Fleet) -> Checks:
    """What a host needs to be served, as far as the registry and the disk show it: also the heartbeat."""
    host = manager.settings.host
    missing = manager.roots.check()
    try:
        live = host in fleet.live_hosts()
    except RegistryError as exc:
        redis, heartbeat = str(exc), "unknown without Redis"
    else:
        redis, heartbeat = "", "" if live else f"no fresh heartbeat of {host}"
    base = missing.get(manager.roots.base.path, "") or manager.roots.no_rights()
    return {"base_dir": base, "redis": redis, "heartbeat": heartbeat}
