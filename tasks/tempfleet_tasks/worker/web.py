"""
The pages of a worker: /metrics, /healthz, /readyz, /health and the status page; see tempfleet.monitoring.
"""

from __future__ import annotations

import threading
from typing import Any

from tempfleet.formatting import duration
from tempfleet.monitoring import Checks, WebServer, host_checks, make_site, serve

from .. import routing
from ..runtime import Runtime
from .transport import silent_seconds

NEEDED_THREADS = ("heartbeat", "timer")
"""Without these a worker does not serve its host. bootsteps.py names them tempfleet-<name>."""

READY_SECONDS = 10.0
"""A worker is unready if its broker owes an answer for longer. A Redis that is there answers within a second or two."""


def serve_pages(runtime: Runtime, worker: Any) -> WebServer | None:
    """Returns the running server, or None if its port is not available (which is logged)."""
    settings = runtime.settings
    site = make_site(runtime.manager, runtime.fleet, alive=liveness, ready=lambda: readiness(runtime, worker))
    return serve(site, address=settings.metrics_address, port=settings.metrics_port)


def liveness() -> Checks:
    """Fails if a needed thread has ended: the host falls silent then, and only a restart helps."""
    running = {thread.name for thread in threading.enumerate()}
    return {name: "" if f"tempfleet-{name}" in running else "its thread has ended" for name in NEEDED_THREADS}


def readiness(runtime: Runtime, worker: Any) -> Checks:
    """Each thing that is needed to serve the host, with what is wrong with it, or ""."""
    checks = host_checks(runtime.manager, runtime.fleet)
    return {**checks, "broker": _check_broker(worker), "queue": _check_queue(runtime, worker)}


def _check_broker(worker: Any) -> str:
    """Returns "" if the worker has a connection to its broker, and no answer is overdue."""
    connection = getattr(getattr(worker, "consumer", None), "connection", None)
    if connection is None or not connection.connected:
        return "the worker is not connected to it"
    seconds = silent_seconds()
    return "" if seconds < READY_SECONDS else f"it has not answered for {duration(seconds)}"


def _check_queue(runtime: Runtime, worker: Any) -> str:
    """Returns "" if the worker reads its host's queue now."""
    consumer = getattr(getattr(worker, "consumer", None), "task_consumer", None)
    queue = routing.host_queue(runtime.settings, runtime.host).name
    queues = [queue.name for queue in consumer.queues] if consumer is not None else []
    return "" if queue in queues else f"{queue} is not read"
