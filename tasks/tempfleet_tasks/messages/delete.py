"""
The messages that delete: delete_due and clear. They work on the host that has the files.
"""

from __future__ import annotations

from dataclasses import dataclass

from tempfleet import TempfleetError, UnknownHost, Volume
from tempfleet.errors import MalformedMessage
from tempfleet.logs import logger, printable

from ..runtime import Runtime
from .file_message import Answer, FileMessage
from .sweep import send_delete_due


class ClearRefused(TempfleetError):
    """Clearing by message is off; set TEMP_FILE_REMOTE_CLEAR=1 on the host that should obey it."""


def delete_due(runtime: Runtime, volume: str) -> Answer:
    """
    Deletes the expired files of one volume of this host, batch after batch, within the time budget. If some are left
    then, the task sends itself again.

    A late, lost or doubled message changes nothing, because the registry decides which files have expired.
    """
    own = _volume(volume)
    if own.host != runtime.host:
        raise MalformedMessage(f"{volume} is not a volume of {runtime.host}.")
    if own not in runtime.own_volumes():
        raise MalformedMessage(f"{volume} never had a file.")
    runtime.fleet.mark_taken(f"delete_due {own}")
    report = runtime.clean(own)
    if report is None:
        return {"skipped": "this process is cleaning the volume already"}
    if not report.finished:
        send_delete_due(runtime, own)
    return report.as_dict()


@dataclass(frozen=True)
class Clear(FileMessage):
    """
    Deletes all registered files of the host's own volume, expired or not, except held files.

    Raises:
        ClearRefused: this host does not have TEMP_FILE_REMOTE_CLEAR=1. Anybody who reaches the broker can send this.
    """

    task = "tempfleet.clear"

    host: str = ""

    def here(self, runtime: Runtime) -> Answer:
        if not runtime.settings.remote_clear:
            raise ClearRefused
        logger.warning("Clearing %s by message", runtime.manager.volume)
        return runtime.manager.cleanup_report(force=True).as_dict()

    def unverified(self, runtime: Runtime) -> Answer:
        raise UnknownHost(f"{printable(self.host)} is silent; nothing was cleared.", host=self.host)


def _volume(text: object) -> Volume:
    try:
        return Volume.decode(text if isinstance(text, str) else "")
    except ValueError as exc:
        raise MalformedMessage(str(exc)) from None
