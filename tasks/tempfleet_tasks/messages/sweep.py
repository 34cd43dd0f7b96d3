"""
The sweep: reap every volume, count what is due, and wake the hosts that have something to delete.

It deletes nothing and carries no paths. Ten sweeps at once are as good as one.
"""

from __future__ import annotations

import time
from dataclasses import asdict

from celery import Celery
from kombu.entity import Queue

from tempfleet import RegistryError, RegistryFull, RegistryUnavailable, Settings, Volume
from tempfleet.logs import logger
from tempfleet.registry import Fleet, Sweep

from .. import routing
from ..runtime import Runtime
from .file_message import Answer


def receive_sweep(runtime: Runtime) -> Answer:
    """As ``sweep``, for a message from the shared queue."""
    runtime.fleet.mark_taken("sweep")
    return sweep(runtime)


def sweep(runtime: Runtime) -> Answer:
    """
    One pass over all volumes, in four round trips to Redis, and two to tell of it.

    A host that is not live gets no message: its list would grow for ever. Its files stay registered, and are deleted
    when it returns.
    """
    began = time.monotonic()
    fleet = runtime.fleet
    volumes = fleet.volumes()
    reaped = fleet.reap(volumes)
    for volume, answer in reaped.items():
        if isinstance(answer, RegistryError):
            logger.error("Could not reap %s: %s", volume, answer)
    due = {volume: stats.due for volume, stats in fleet.stats(volumes).items() if stats.due}
    live = fleet.live_hosts()
    sent = [volume for volume in due if volume.host in live and send_delete_due(runtime, volume)]
    recovered = sum(answer.recovered for answer in reaped.values() if not isinstance(answer, RegistryError))
    done = Sweep(
        host=runtime.host,
        seconds=round(time.monotonic() - began, 4),
        volumes=len(volumes),
        due=sum(due.values()),
        sent=len(sent),
        recovered=recovered,
        silent_due=sum(n for volume, n in due.items() if volume.host not in live),
    )
    _tell(runtime, done)
    return asdict(done)


def _tell(runtime: Runtime, done: Sweep) -> None:
    """Count the sweep in our own volume's totals, and note it; without either it was a sweep all the same."""
    try:
        runtime.fleet.record_sweep(done)
        runtime.manager.registry.observe(histogram="sweep", seconds=done.seconds)
    except RegistryError as exc:
        logger.warning("The sweep was not counted: %s", exc)


def send_delete_due(runtime: Runtime, volume: Volume) -> bool:
    """Wake the owner of *volume*, unless the last such message still waits in its queue."""
    queue = routing.host_queue(runtime.settings, volume.host)
    if waits(runtime.app, runtime.fleet, queue, f"delete_due {volume}"):
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
    Whether *message* was sent and not taken yet; if not, notes it as sent.

    The note alone could outlive its message (a broker that lost it), so an empty queue overrules it. A registry that
    does not answer, or has no room for a note, overrules it too: one message too many changes nothing.
    """
    try:
        return not fleet.mark_waiting(message) and routing.waiting_messages(app, queue) > 0
    except (RegistryUnavailable, RegistryFull) as exc:
        logger.warning("Cannot tell whether %s still waits: %s", message, exc)
        return False


def sweep_waits(app: Celery, settings: Settings, fleet: Fleet) -> bool:
    return waits(app, fleet, routing.shared_queue(settings), "sweep")
