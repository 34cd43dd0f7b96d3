"""
What a worker shows over HTTP: /metrics, /healthz, /readyz, /health and the status page; see tempfleet.web.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from celery import bootsteps

from tempfleet import RegistryError, Settings
from tempfleet.metrics import FleetCollector, prometheus_registry
from tempfleet.settings import is_loopback
from tempfleet.web import Checks, Site, WebServer, serve
from tempfleet.web.page import status_page
from tempfleet.web.survey import survey

from . import routing
from .bootsteps import TICKERS
from .runtime import Runtime, RuntimeOf


class WebStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Serves a worker's pages from its main process, after HostStep."""

    runtime_of: RuntimeOf  # set by app.install on a sub-class of its own

    def __init__(self, worker: Any, **_kwargs: Any) -> None:
        self.server: WebServer | None = None

    def include_if(self, worker: Any) -> bool:
        return self.runtime_of.settings.metrics

    def start(self, worker: Any) -> None:
        runtime = self.runtime_of()
        settings = runtime.settings
        site = make_site(runtime, ready=lambda: readiness(runtime, worker))
        self.server = serve(site, address=settings.metrics_address, port=settings.metrics_port)

    def stop(self, worker: Any) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None

    terminate = stop


def make_site(runtime: Runtime, *, ready: Callable[[], Checks]) -> Site:
    """The pages of one process, as its settings want them."""
    settings = runtime.settings
    return Site(
        metrics=prometheus_registry(collector(runtime)),
        alive=liveness,
        ready=ready,
        health=runtime.manager.health_check,
        page=(lambda: page(runtime)) if settings.serves_status_page else None,
        loopback_only=is_loopback(settings.metrics_address),
    )


def collector(runtime: Runtime) -> FleetCollector:
    settings: Settings = runtime.settings
    return FleetCollector(
        runtime.fleet,
        host=None if settings.metrics_all_volumes else settings.host,
        own=runtime.manager.volume,
        roots=runtime.manager.roots,
        sweep_interval_seconds=settings.cleanup_interval_seconds,
    )


def page(runtime: Runtime) -> str:
    return status_page(
        survey(
            runtime.fleet,
            host=runtime.host,
            missing_roots=runtime.manager.roots.check(),
            sweep_interval_seconds=runtime.settings.cleanup_interval_seconds,
        )
    )


def liveness() -> Checks:
    """Whether the threads of HostStep still run: without them a host falls silent, and only a new start helps."""
    running = {thread.name for thread in threading.enumerate()}
    return {name: "" if f"tempfleet-{name}" in running else "its thread has ended" for name in TICKERS}


def readiness(runtime: Runtime, worker: Any) -> Checks:
    """What a host needs to be served, and what is wrong with it: "" for nothing."""
    return {**serving(runtime), "queue": _subscription(runtime, worker)}


def serving(runtime: Runtime) -> Checks:
    """The part that has nothing to do with Celery: the directories, Redis, the heartbeat."""
    missing = runtime.manager.roots.check()
    base = runtime.manager.roots.base.path
    try:
        live = runtime.host in runtime.fleet.live_hosts()
    except RegistryError as exc:
        redis, heartbeat = str(exc), "unknown without Redis"
    else:
        redis, heartbeat = "", "" if live else f"none of {runtime.host} is fresh"
    return {"base_dir": missing.get(base, ""), "redis": redis, "heartbeat": heartbeat}


def _subscription(runtime: Runtime, worker: Any) -> str:
    """Whether the worker reads its host's queue now."""
    consuming = getattr(getattr(worker, "consumer", None), "task_consumer", None)
    wanted = routing.host_queue(runtime.settings, runtime.host).name
    names = [queue.name for queue in consuming.queues] if consuming is not None else []
    return "" if wanted in names else f"{wanted} is not read"
