"""Why a file is not compressed, or not decompressed."""

from __future__ import annotations

from enum import StrEnum


class Skip(StrEnum):
    """Why a file stays as it is. Reports count by these words."""

    # Another process has to finish first.
    OPEN = "open"
    LOCKED = "locked"
    UNKNOWN = "unknown"  # the system cannot tell whether it is in use
    CHANGED = "changed"
    EXCHANGING = "exchanging"
    STOPPED = "stopped"

    # It is not the registered file any more.
    MISSING = "missing"
    REPLACED = "replaced"

    # It would save nothing, or too little, or too early.
    PLAIN = "plain"  # it is not compressed
    RECENT = "recent"
    SMALL = "small"
    SPARSE = "sparse"
    INCOMPRESSIBLE = "incompressible"

    # It cannot be done safely.
    LINKED = "linked"
    WEAK_IDENTITY = "weak-identity"
    NOT_PRIVATE = "not-private"
    NO_NOTE = "no-note"
    NOT_PUT_BACK = "not-put-back"
    NO_EXCHANGE = "no-exchange"  # the system, or the file system, cannot exchange two names
    OUTSIDE_ROOTS = "outside-roots"
    REFUSED = "refused"  # ``Unchanged.word`` contains the reason


class Unchanged(Exception):
    """
    The file stays as it is.

    Attributes:
        word: the reason as reports print it. For REFUSED it is a word of another module.
    """

    def __init__(self, reason: Skip, word: str = "") -> None:
        self.reason = reason
        self.word = word or reason.value
        super().__init__(self.word)

    @classmethod
    def of(cls, word: str) -> Unchanged:
        """Convert a word of another module: a use, a refusal before a deletion, or the name of an errno."""
        try:
            return cls(Skip(word))
        except ValueError:
            return cls(Skip.REFUSED, word)
