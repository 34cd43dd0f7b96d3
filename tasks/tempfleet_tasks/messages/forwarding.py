"""
How a message finds the host that it is about.

A message may arrive in any queue that our workers read. The worker that receives it looks at the host that it names:

    its own host        checks the file on disk, and does the work
    a live host         sends the message on to the queue of that host
    a silent host       records what it can; the host verifies the file when it returns
    an unknown host     raises an error, which is counted

A message that is sent on is the same message: what hangs on it (a chain, a chord, callbacks, its result) waits for the
execution on the host that has the file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from celery.exceptions import Ignore, Reject
from kombu.exceptions import OperationalError

from tempfleet import BatchError, FileMissing, Settings, UnknownHost, UnsafePath
from tempfleet.filesystem import is_below, is_private_name, normalise
from tempfleet.logs import logger, printable
from tempfleet.registry import Registry

from .. import routing
from ..runtime import Runtime
from .file_message import Answer, FileMessage

MAPS = ("celery.map", "celery.starmap")
"""Celery's tasks that call another task, once for each element."""

SENT_ON = "tempfleet_sent_on"
"""The header of a map that was sent on; it is sent on only once, because its elements may name several hosts."""


def route(runtime: Runtime, message: FileMessage) -> Answer:
    """
    Check *message*, then carry it out here, forward it, or record it for a silent host.

    Raises:
        MalformedMessage, InvalidTTL, InvalidTag: the message is wrong in itself.
        UnknownHost: no worker of that host was ever seen.
        Ignore: the message was sent on; nothing more is to be done here.
    """
    message.check()
    if message.host == runtime.host:
        return _here(runtime, message)
    live = {host.name: host.live for host in runtime.fleet.hosts()}
    if message.host not in live:
        names = ", ".join(sorted(live)) or "none"
        raise UnknownHost(
            f"No worker of host {printable(message.host)!r} was ever seen (known: {names}).",
            host=message.host,
        )
    return forward(runtime, message) if live[message.host] else message.unverified(runtime)


def forward(runtime: Runtime, message: FileMessage) -> Answer:
    """
    Send the message that a worker runs on to its host. If no worker runs it (a function call, or a map whose elements
    name several hosts), send a new one and return its host.

    Raises:
        Ignore: the message that the worker runs was sent on.
        Reject: the broker did not take it. The worker gives it back, because a lost registration is a leaked file.
    """
    queue = routing.host_queue(runtime.settings, message.host)
    task = runtime.app.current_worker_task
    own = task is not None and task.name == message.task
    is_map = task is not None and task.name in MAPS and SENT_ON not in vars(task.request)
    if not (own or is_map) or task.request.is_eager:
        routing.send(runtime.app, message.task, queue, message.as_kwargs())
        return {"forwarded": message.host}
    try:
        routing.send_on(runtime.app, task.request, queue, **({SENT_ON: message.host} if is_map else {}))
    except OperationalError as exc:
        raise Reject(exc, requeue=True) from exc
    logger.info("Sent %s[%s] on to %s", task.name, task.request.id, printable(message.host))
    raise Ignore(f"sent on to {message.host}")


def _here(runtime: Runtime, message: FileMessage) -> Answer:
    try:
        return message.here(runtime)
    except (FileMissing, BatchError):
        # If the disk is away, so are its files: VolumeUnavailable, and the message is tried again.
        runtime.manager.local_volume.check()
        raise


def confine(path: str, settings: Settings) -> None:
    """
    Raises:
        UnsafePath: *path* leads to a file outside the roots of messages.
    """
    if not is_below(normalise(path), settings.confined_roots):
        raise UnsafePath(
            f"A message may not name {printable(path)}: it is outside TEMP_FILE_MESSAGE_ROOTS.",
            path=path,
            reason="outside-message-roots",
        )


def registry_of_silent(runtime: Runtime, host: str, paths: Sequence[str]) -> Registry:
    """
    The volume of a silent host that contains all *paths*. Their names decide, because its disk is not here.

    Raises:
        UnsafePath: no base directory of that host contains them all.
    """
    for volume in runtime.fleet.volumes(host=host):
        if all(_is_named_below(path, volume.base_dir) for path in paths):
            return runtime.fleet.registry(volume)
    raise UnsafePath(
        f"{host} is silent, and {printable(paths[0])} is in none of its base directories.",
        path=paths[0],
        reason="outside-message-roots",
    )


def _is_named_below(path: str, directory: str) -> bool:
    """Whether the name alone proves it: a name that a disk could resolve in another way does not."""
    if any(is_private_name(part) for part in path.split("/")):
        return False
    return os.path.normpath(path) == path and path.startswith(directory.rstrip("/") + "/")
