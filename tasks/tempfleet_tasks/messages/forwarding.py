"""
How a message finds the host that it is about.

A message may arrive in any queue that our workers read. The worker that receives it looks at the host that it names:

    its own host        checks the file on disk, and does the work
    a live host         forwards the message to the queue of that host
    a silent host       records what it can; the host verifies the file when it returns
    an unknown host     raises an error, which is counted
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tempfleet import Settings, UnknownHost, UnsafePath
from tempfleet.filesystem import is_below, is_private_name, normalise
from tempfleet.logs import printable
from tempfleet.registry import Registry

from .. import routing
from ..runtime import Runtime
from .file_message import Answer, FileMessage


def route(runtime: Runtime, message: FileMessage) -> Answer:
    """
    Check *message*, then carry it out here, forward it, or record it for a silent host.

    Raises:
        MalformedMessage, InvalidTTL, InvalidTag: the message is wrong in itself.
        UnknownHost: no worker of that host was ever seen.
    """
    message.check()
    if message.host == runtime.host:
        return message.here(runtime)
    live = {host.name: host.live for host in runtime.fleet.hosts()}
    if message.host not in live:
        names = ", ".join(sorted(live)) or "none"
        raise UnknownHost(
            f"No worker of host {printable(message.host)!r} was ever seen (known: {names}).",
            host=message.host,
        )
    if live[message.host]:
        queue = routing.host_queue(runtime.settings, message.host)
        routing.send(runtime.app, message.task, queue, message.as_kwargs())
        return {"forwarded": message.host}
    return message.unverified(runtime)


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
