"""
How a message finds the host that it is about.

It may have been sent to any queue that our workers read. Whoever receives it decides by the host it names:

    it is ours          check the file on disk, and do it
    it is live          forward to its own queue
    it is silent        write it down for it, to be verified when it returns
    nobody knows it     an error, counted
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tempfleet import Settings, UnknownHost, UnsafePath
from tempfleet.errors import MalformedMessage
from tempfleet.filesystem import is_below, is_private_name, normalise
from tempfleet.logs import printable
from tempfleet.registry import Registry

from .. import routing
from ..runtime import Runtime


@dataclass(frozen=True, slots=True)
class Message:
    """A task that belongs to *host*, and the files it names."""

    task: str
    host: str
    paths: tuple[str, ...]
    kwargs: dict[str, Any]


def route(
    runtime: Runtime,
    message: Message,
    here: Callable[[], dict[str, Any]],
    unseen: Callable[[Registry], dict[str, Any]],
) -> dict[str, Any]:
    """
    Do *message* here, forward it, or do what can be done *unseen*, with the registry alone.

    Raises:
        MalformedMessage: no host is named.
        UnknownHost: no worker of that host was ever seen.
        UnsafePath: the host is silent, and a path is in none of its base directories.
    """
    if not message.host:
        raise MalformedMessage(f"{message.task} takes the host that it is about; it must be given.")
    if message.host == runtime.host:
        return here()
    hosts = {host.name: host.live for host in runtime.fleet.hosts()}
    if message.host not in hosts:
        known = ", ".join(sorted(hosts)) or "none"
        raise UnknownHost(
            f"No worker of host {printable(message.host)!r} was ever seen (known: {known}).",
            host=message.host,
        )
    if hosts[message.host]:
        queue = routing.host_queue(runtime.settings, message.host)
        routing.send(runtime.app, message.task, queue, message.kwargs)
        return {"forwarded": message.host}
    return unseen(_registry_of(runtime, message.host, message.paths))


def _registry_of(runtime: Runtime, host: str, paths: Sequence[str]) -> Registry:
    """The volume of a silent host that all *paths* are in: judged by name, because the disk is not here."""
    for volume in runtime.fleet.volumes(host=host):
        if all(_is_below(path, volume.base_dir) for path in paths):
            return runtime.fleet.registry(volume)
    raise UnsafePath(
        f"{host} is silent, and {printable(paths[0])} is in none of its base directories.",
        path=paths[0],
        reason="outside-message-roots",
    )


def confine(path: str, settings: Settings) -> None:
    """
    Raises:
        UnsafePath: what *path* leads to is not below one of the roots of messages.
    """
    if not is_below(normalise(path), settings.confined_roots):
        raise UnsafePath(
            f"A message may not name {printable(path)}: it is outside TEMP_FILE_MESSAGE_ROOTS.",
            path=path,
            reason="outside-message-roots",
        )


def _is_below(path: str, directory: str) -> bool:
    """Judged by the name alone, so it must have nothing in it that a disk could read in another way."""
    if any(is_private_name(part) for part in path.split("/")):
        return False
    return os.path.normpath(path) == path and path.startswith(directory.rstrip("/") + "/")
