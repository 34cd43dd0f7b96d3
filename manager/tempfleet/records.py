"""
What the registry keeps of a file, and the words for what can become of it. Their form in Redis is in registry/codec.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

NO_IDENTITY = "-"
NO_FLAGS = "-"
NO_UID = -1

NEAR_EXPIRY = 0.8
"""The share of its life after which the specification calls a file about to expire."""


class State(StrEnum):
    """Where a record is; always exactly one of these."""

    WAITING = "waiting"  # in the registry: its deadline, or its next try, is ahead
    LEASED = "leased"  # claimed: somebody is deleting the file now
    HELD = "held"  # kept until its hold ends
    DEAD = "dead"  # retrying stopped; a person decides


class Outcome(StrEnum):
    """What became of one file in a clean-up."""

    DELETED = "deleted"  # we removed it
    MISSING = "missing"  # nothing was there
    REPLACED = "replaced"  # another file has its name now; that one stays
    BUSY = "busy"  # somebody uses it; tried again later
    REFUSED = "refused"  # may not be deleted, now or later; buried with the reason
    UNAVAILABLE = "unavailable"  # its root is not here; tried again later, never counted as a failure
    FAILED = "failed"  # the system said no; tried again with back-off, in the end buried


GONE = frozenset({Outcome.DELETED, Outcome.MISSING, Outcome.REPLACED})
"""The outcomes after which the record is forgotten."""


class Way(StrEnum):
    """How the deleter made sure that it had the right file."""

    DIRECT = "direct"  # the name is ours alone: made by create() in a private directory
    GUARDED = "guarded"  # a caller chose the name: moved aside, compared, then unlinked


class Flag(StrEnum):
    """One letter each in the record's header."""

    CREATED = "c"  # the name was made by create(): unguessable, never used twice
    DIRECTORY = "d"  # the record stands for a whole directory
    UNVERIFIED = "u"  # recorded from afar for a silent host; its identity is not known yet
    MAY_COMPRESS = "p"  # its readers use manager.open, so it may be packed
    COMPRESSED = "z"  # perhaps in its compressed form: the file itself says
    INCOMPRESSIBLE = "i"  # tried, and not worth it
    QUARANTINED = "q"  # in quarantine, under a path of its own; deleting it ends its time there


@dataclass(frozen=True, slots=True)
class FileRecord:
    """
    One file under management.

    Attributes:
        path: absolute, its parent resolved at registration.
        registered_ms: when it was registered last, Redis clock.
        deadline_ms: the promise; a hold or a retry may put the deletion off further.
        size_bytes: at registration, or once it was compressed; 0 where the file did not exist yet.
        identity: which object was registered, opaque text; NO_IDENTITY where the name alone says so.
        flags: letters of Flag.
        uid: the owner that the file had, NO_UID where unknown.
        tags: the caller's own words.
        state: None in a claim, where it is leased by definition.
        due_ms: when it is tried next, or its hold ends; None for ever, or where the state has no such time.
        attempts: how often deleting it has failed.
        last_error: why it last did not go, in one word; "" where nothing was in the way.
        hold_reason: why it is held, in the holder's words; "" for none.
    """

    path: str
    registered_ms: int
    deadline_ms: int
    size_bytes: int = 0
    identity: str = NO_IDENTITY
    flags: str = ""
    uid: int = NO_UID
    tags: tuple[str, ...] = ()
    state: State | None = None
    due_ms: int | None = None
    attempts: int = 0
    last_error: str = ""
    hold_reason: str = ""

    def matches(self, *, tags: Sequence[str] = (), prefix: str = "") -> bool:
        """Whether it has all of *tags* and its path begins with *prefix*."""
        return set(tags) <= set(self.tags) and self.path.startswith(prefix)

    def is_near_expiry(self, now_ms: int, fraction: float = NEAR_EXPIRY) -> bool:
        """Whether it waits, not in quarantine, and has spent more than *fraction* of its life."""
        age_ms, life_ms = now_ms - self.registered_ms, self.deadline_ms - self.registered_ms
        return self.state is State.WAITING and not self.is_quarantined and age_ms > fraction * life_ms

    @property
    def is_directory(self) -> bool:
        return Flag.DIRECTORY in self.flags

    @property
    def is_created(self) -> bool:
        return Flag.CREATED in self.flags

    @property
    def is_quarantined(self) -> bool:
        return Flag.QUARANTINED in self.flags

    @property
    def is_compressed(self) -> bool:
        return Flag.COMPRESSED in self.flags

    @property
    def is_unverified(self) -> bool:
        return Flag.UNVERIFIED in self.flags

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; the path keeps its surrogates."""
        return {
            "path": self.path,
            "state": self.state,
            "registered_ms": self.registered_ms,
            "deadline_ms": self.deadline_ms,
            "due_ms": self.due_ms,
            "size_bytes": self.size_bytes,
            "directory": self.is_directory,
            "compressed": self.is_compressed,
            "quarantined": self.is_quarantined,
            "tags": list(self.tags),
            "attempts": self.attempts,
            "last_error": self.last_error,
            "hold_reason": self.hold_reason,
        }


@dataclass(frozen=True, slots=True)
class NewFile:
    """What registering sends: a file as it was found (or is about to be made), without instants."""

    path: str
    ttl_ms: int
    size_bytes: int = 0
    identity: str = NO_IDENTITY
    flags: str = ""
    uid: int = NO_UID
    tags: tuple[str, ...] = ()
    age_ms: int = 0


class Deletion(NamedTuple):
    """
    What became of one file, told by the deleter.

    Attributes:
        record: of the file; ``path`` is its path.
        outcome: one of Outcome's words.
        way: None where it was settled before a way was chosen.
        freed_bytes: what the disk got back: 0 for a file with another hard link or an open reader.
        reason: one short word for people and metrics ("symlink", "EACCES"), "" when it simply worked.
    """

    record: FileRecord
    outcome: Outcome
    way: Way | None = None
    freed_bytes: int = 0
    reason: str = ""

    @property
    def path(self) -> str:
        return self.record.path
