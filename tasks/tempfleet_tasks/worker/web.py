"""
What a worker shows over HTTP: /metrics, /healthz, /readyz, /health and the status page; see tempfleet.web.
"""

from __future__ import annotations

import threading
from typing import Any

from celery import bootsteps

from tempfleet.monitoring import Checks, WebServer, host_checks, make_site, serve

from .. import routing
from ..runtime import Runtime, RuntimeOf
from .bootsteps import TICKERS


class WebStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Serves a worker's pages from its main process, after HostStep."""

    runtime_of: RuntimeOf  # set by app.install on a sub-class of its own

    def __init__(self, worker: Any, **_kwargs: Any) -> None:
        self.server: WebServer | None = None

    def include_if(self, worker: Any) -> bool:
        return self.runtime_of.settings.metrics

    def start(self, worker: Any) -> None:
        runtime = self.runtime_of()
        site = make_site(
            runtime.manager, runtime.fleet, alive=liveness, ready=lambda: readiness(runtime, worker)
        )
        settings = runtime.settings
        self.server = serve(site, address=settings.metrics_address, port=settings.metrics_port)

    def stop(self, worker: Any) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None

    terminate = stop


def liveness() -> Checks:
    """Whether the threads of HostStep still run: without them a host falls silent, and only a new start helps."""
    running = {thread.name for thread in threading.enumerate()}
    return {name: "" if f"tempfleet-{name}" in running else "its thread has ended" for name in TICKERS}


def readiness(runtime: Runtime, worker: Any) -> Checks:
    """What a host needs to be served, and what is wrong with it: "" for nothing."""
    return {**host_checks(runtime.manager, runtime.fleet), "queue": _subscription(runtime, worker)}


def _subscription(runtime: Runtime, worker: Any) -> str:
    """Whether the worker reads its host's queue now."""
    consuming = getattr(getattr(worker, "consumer", None), "task_consumer", None)
    wanted = routing.host_queue(runtime.settings, runtime.host).name
    names = [queue.name for queue in consuming.queues] if consuming is not None else []
    return "" if wanted in names else f"{wanted} is not read"
