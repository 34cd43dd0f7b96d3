"""What people read about messages that workers threw away."""

from __future__ import annotations

from collections.abc import Sequence

from ..formatting import counted, duration
from ..logs import printable
from ..registry import Pulse, Rejected

NOT_LOST = frozenset({"AlreadyClaimed", "FileMissing", "NotRegistered"})
"""Reasons to refuse a message that leave no file behind. The alert TempfleetMessagesRejected leaves them out, too."""
REMEDIES = {
    "ContentDisallowed": 'Send with serializer="json", or let the workers\' app accept the other one (accept_content).',
    "DecodeError": "Does the sender use the same serializer and compression as it says?",
    "Expired": "Their `expires` passed before a worker read them: start workers, or send them without it.",
    "InvalidTaskError": "Send them with Celery (send_task), not by hand.",
    "Revoked": "Somebody revoked them with Celery's remote control; register the files again.",
    "UnknownHost": "Does `host` name the TEMP_FILE_HOST of a worker? Start the worker before the sender.",
    "UnknownTask": "Is the name of the task right? Send other apps' tasks to other queues.",
    "UnsafePath": "Add the directory to TEMP_FILE_MESSAGE_ROOTS of the host, or move the files.",
}
"""What to do about messages that are thrown away, by reason."""


def thrown_away(pulse: Pulse) -> tuple[str, str] | None:
    """Returns what is wrong and what to do; None if no message that mattered was thrown away in the last day."""
    rejected = [entry for entry in pulse.rejected if entry.reason not in NOT_LOST]
    if not rejected:
        return None
    reasons = ", ".join(f"{printable(entry.reason)} {entry.count:,}" for entry in rejected)
    ago = duration(max(pulse.now_ms - max(entry.last_ms for entry in rejected), 0) / 1000)
    messages = counted(sum(entry.count for entry in rejected), "message was", "messages were")
    return (
        f"{messages} thrown away, the last {ago} ago ({reasons}): the files that they name may never be deleted",
        f"The log of the workers has each one. {_remedy(rejected)}",
    )


def _remedy(rejected: Sequence[Rejected]) -> str:
    """The remedy of the latest reason."""
    latest = max(rejected, key=lambda entry: entry.last_ms)
    return REMEDIES.get(latest.reason, "Correct the program that sends them, and register the files again.")
