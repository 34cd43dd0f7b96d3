"""Why files are deleted, and what follows from it."""

from __future__ import annotations

from enum import Enum, auto


class Cause(Enum):
    """
    Why a clean-up deletes files. Four properties follow from it.

    Attributes:
        EXPIRED: the deadline is over.
        FORCED: a caller clears all files, or its process or manager ends.
        DISCARDED: the creator of a TempFile leaves its ``with``.
        QUOTA: a registration over a limit makes room.
        EVICTED: the disk is too full.
        PURGED: a person empties the quarantine.
    """

    EXPIRED = auto()
    FORCED = auto()
    DISCARDED = auto()
    QUOTA = auto()
    EVICTED = auto()
    PURGED = auto()

    @property
    def quarantines(self) -> bool:
        """
        Whether files go to the quarantine first, if TEMP_FILE_QUARANTINE is set. Not if their creator deletes them, and
        not if they would still fill the same disk there.
        """
        return self in (Cause.EXPIRED, Cause.FORCED, Cause.QUOTA)

    @property
    def claims_quarantined(self) -> bool:
        """Whether quarantined files are deleted before their quarantine ends."""
        return self in (Cause.EVICTED, Cause.PURGED)

    @property
    def awaits_creation(self) -> bool:
        """Whether a missing file may still be being created. Not if its creator deletes it."""
        return self is not Cause.DISCARDED

    @property
    def keeps_deadline(self) -> bool:
        """Whether a file that could not be deleted falls due no sooner than it would have without the attempt."""
        return self in (Cause.QUOTA, Cause.EVICTED)
