"""One log line for each deletion."""

from __future__ import annotations

from ..filesystem import NOT_ANSWERING
from ..logs import logger, printable
from ..records import GONE, Deletion, Outcome


def log(deletion: Deletion) -> None:
    """Write one line about the outcome for a file."""
    path, reason = printable(deletion.path), deletion.reason or deletion.outcome.value
    if deletion.obstacle is not None:
        reason += f" ({printable(deletion.obstacle.path)})"
    if deletion.outcome is Outcome.DELETED:
        logger.debug("Removed temporary file: %s", path)
    elif deletion.outcome is Outcome.REWRITTEN:
        logger.info("Kept temporary file %s: it was rewritten, and expires later", path)
    elif deletion.reason == NOT_ANSWERING:
        logger.debug("Kept temporary file %s for now: %s", path, reason)  # its root was logged, once
    elif deletion.outcome in GONE:
        logger.info("Forgot temporary file %s: %s", path, reason)
    elif deletion.outcome in (Outcome.FAILED, Outcome.REFUSED):
        logger.error("Failed to remove temporary file %s: %s", path, reason)
    else:
        logger.info("Kept temporary file %s for now: %s", path, reason)
