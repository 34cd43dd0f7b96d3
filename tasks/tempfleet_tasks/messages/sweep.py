"""
The sweep: reap every volume, count the expired files, and wake the hosts that have some.

It deletes no file, and its messages contain no paths. It forgets ephemeral hosts that were silent for long enough. Ten
sweeps at once do no harm.
"""

from __future__ import annotations

import time
from dataclasses import asdict

from celery import Celery
from kombu.entity import Queue

from tempfleet import RegistryError, Settings, Volume
from tempfleet.logs import logger
from tempfleet.registry import Fleet, Sweep, forget_silent

from .. import routing
from ..runtime import Runtime
from .file_message import Answer

FORGET_SECONDS = 10
"""How long one sweep forgets hosts; about 100,000 records."""


def receive_sweep(runtime: Runtime) -> Answer:
    """As ``sweep``; also records that the message no longer waits in the shared queue."""
    runtime.fleet.mark_taken("sweep")
    return sweep(runtime)


def sweep(runtime: Runtime) -> Answer:
    """
    Sweeps all volumes once, in five round trips to Redis, and two to record the sweep.

    A silent host gets no message, because its queue would grow for ever. Its files stay registered, and are deleted
    when it returns. A silent host that is ephemeral is forgotten after its time, which costs more round trips.
    """
    started = time.monotonic()
    fleet = runtime.fleet
    volumes = fleet.volumes()
    clock = runtime.manager.local_volume.unchecked_cleaner.clock
    clock.check()
    reaped = fleet.reap(volumes, horizon=clock.horizon())
    for volume, result in reaped.items():
        if isinstance(result, RegistryError):
            logger.error("Could not reap %s: %s", volume, result)
    stats = fleet.stats(volumes)
    due = {volume: found.due for volume, found in stats.items() if found.due}
    hosts = fleet.hosts()
    live = {host.name for host in hosts if host.live}
    sent = [volume for volume in due if volume.host in live and send_delete_due(runtime, volume)]
    recovered = sum(result.recovered for result in reaped.values() if not isinstance(result, RegistryError))
    forgotten = forget_silent(fleet, hosts, stats, budget_seconds=FORGET_SECONDS)
    report = Sweep(
        host=runtime.host,
        seconds=round(time.monotonic() - started, 4),
        volumes=len(volumes),
        due=sum(due.values()),
        sent=len(sent),
        recovered=recovered,
        silent_due=sum(n for volume, n in due.items() if volume.host not in live),
        forgotten=sum(report.forgotten for report in forgotten),
    )
    _record(runtime, report)
    return asdict(report)


def _record(runtime: Runtime, report: Sweep) -> None:
    """Record the sweep for the fleet, and in the totals of our own volume. The sweep is done even if this fails."""
    try:
        runtime.fleet.record_sweep(report)
        runtime.manager.registry.observe(histogram="sweep", seconds=report.seconds)
    except RegistryError as exc:
        logger.warning("Could not record the sweep: %s", exc)


def send_delete_due(runtime: Runtime, volume: Volume) -> bool:
    """Wake the host of *volume*, unless the last message for it still waits. Returns whether a message was sent."""
    queue = routing.host_queue(runtime.settings, volume.host)
    if waits(runtime.app, runtime.fleet, queue, volume.wake_up):
        return False
    routing.send(
        runtime.app,
        "tempfleet.delete_due",
        queue,
        {"volume": str(volume)},
        expires=runtime.settings.cleanup_interval_seconds,
    )
    return True


def waits(app: Celery, fleet: Fleet, queue: Queue, message: str) -> bool:
    """
    Returns whether *message* was sent and still waits; if not, marks it as waiting.

    The mark alone is not enough, because a broker can lose the message; so an empty queue overrules the mark. The
    answer is also False if the registry refuses or cannot be reached, because one message too many does no harm.
    """
    try:
        return not fleet.mark_waiting(message) and routing.waiting_messages(app, queue) > 0
    except RegistryError as exc:
        logger.warning("Could not find out whether %s still waits: %s", message, exc)
        return False


def sweep_waits(app: Celery, settings: Settings, fleet: Fleet) -> bool:
    return waits(app, fleet, routing.shared_queue(settings), "sweep")
