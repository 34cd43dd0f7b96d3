"""
Deleting, on the host that owns the files. The work itself is tempfleet.cleanup's; here it is given its time.
"""

from __future__ import annotations

from typing import Any

from tempfleet import TempfleetError, UnknownHost, Volume
from tempfleet.errors import MalformedMessage
from tempfleet.logs import logger, printable
from tempfleet.registry import Registry

from ..runtime import Runtime
from .forwarding import Message, route
from .sweep import send_delete_due


class ClearRefused(TempfleetError):
    """Clearing by message is off; set TEMP_FILE_REMOTE_CLEAR=1 on the host that should obey it."""


def delete_due(runtime: Runtime, volume: str) -> dict[str, Any]:
    """
    ``tempfleet.delete_due``: pop, delete and ack what is due in one volume of this host, batch after batch, until
    nothing is due or the time budget ends; then it sends itself to go on.

    Late, lost or doubled, the message changes nothing: what is due is asked of the registry, now.
    """
    named = _volume(volume)
    if named.host != runtime.host:
        raise MalformedMessage(f"{volume} is not a volume of {runtime.host}.")
    if named not in runtime.own_volumes():
        raise MalformedMessage(f"{volume} never had a file.")
    runtime.fleet.mark_taken(f"delete_due {named}")
    report = runtime.clean(named)
    if report is None:
        return {"skipped": "this process is at it already"}
    if not report.finished:
        send_delete_due(runtime, named)
    return report.as_dict()


def clear(runtime: Runtime, host: str = "") -> dict[str, Any]:
    """
    ``tempfleet.clear``: delete everything registered in the host's own volume, due or not, held files excepted.

    Raises:
        ClearRefused: unless this host has TEMP_FILE_REMOTE_CLEAR=1. Whoever reaches the broker could send it.
    """

    def here() -> dict[str, Any]:
        if not runtime.settings.remote_clear:
            raise ClearRefused
        logger.warning("Clearing %s by message", runtime.manager.volume)
        return runtime.manager.cleanup_report(force=True).as_dict()

    def unseen(_registry: Registry) -> dict[str, Any]:
        raise UnknownHost(f"{printable(host)} is silent; nothing was cleared.", host=host)

    return route(runtime, Message("tempfleet.clear", host, (), {"host": host}), here, unseen)


def _volume(text: object) -> Volume:
    try:
        return Volume.decode(text if isinstance(text, str) else "")
    except ValueError as exc:
        raise MalformedMessage(str(exc)) from None
