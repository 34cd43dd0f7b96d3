"""
What the registry stores about a file, and the possible outcomes of deleting it. registry/codec.py has the Redis format.
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
"""The share of its life after which the specification calls a file close to expiry."""


class State(StrEnum):
    """The set that a record is in; always exactly one of these."""

    WAITING = "waiting"  # for its deadline or its next retry
    LEASED = "leased"  # claimed: a worker is deleting the file now
    HELD = "held"  # kept until its last keeper ends
    DEAD = "dead"  # a dead letter: retries stopped, a person decides


class Outcome(StrEnum):
    """What one clean-up did with one file."""

    DELETED = "deleted"  # we removed it
    MISSING = "missing"  # no file had the name
    REPLACED = "replaced"  # another file has the name now, and stays
    REWRITTEN = "rewritten"  # a newer file of its owner has the name; it stays, registered anew
    BUSY = "busy"  # a process uses it; retried later
    REFUSED = "refused"  # must never be deleted; becomes a dead letter with the reason
    UNAVAILABLE = "unavailable"  # its root is not here; retried later, never counted as a failure
    FAILED = "failed"  # a system call failed; retried with back-off, in the end a dead letter


GONE = frozenset({Outcome.DELETED, Outcome.MISSING, Outcome.REPLACED})
"""The outcomes after which the record is removed."""

KEPT = frozenset(Outcome) - GONE - {Outcome.REWRITTEN}
"""The outcomes after which the file is tried again later, or waits for a person."""


class Way(StrEnum):
    """How the deleter made sure that it deletes the right file."""

    DIRECT = "direct"  # create() chose the name, in a private directory: nobody else uses it
    GUARDED = "guarded"  # a caller chose the name: moved to a private directory, compared, then unlinked


class Flag(StrEnum):
    """The letters in a record's header."""

    CREATED = "c"  # create() chose the name: unguessable, never used twice
    DIRECTORY = "d"  # the record is of a whole directory
    UNVERIFIED = "u"  # recorded for a silent host; its identity is not known yet
    MAY_COMPRESS = "p"  # all its registrants read it by manager.open, so it may be compressed
    COMPRESSED = "z"  # possibly compressed: the file's content decides
    INCOMPRESSIBLE = "i"  # compressing it was tried and saved too little
    QUARANTINED = "q"  # in quarantine under its own path; deleting it ends its quarantine
    BEGUN = "b"  # its destruction has begun: only part of it may be left, and the next claim goes on
    INTERRUPTED = "r"  # a claim of it ran out: a dead process may have left the file in a private directory
    SHARED = "s"  # another registrant registered, renewed or held it: the end of one's block leaves it alone
    MARKED = "m"  # reserved: its deadline is also on the file itself
    IDLE = "l"  # reserved: its deadline follows its last use


def has_prefix(path: str, prefix: str) -> bool:
    """
    Whether *path* is *prefix* or lies below it: ``/d/one`` does not match ``/d/one2``. A ``*`` at the end of *prefix*
    matches any text. The empty prefix matches every path.
    """
    if prefix.endswith("*"):
        return path.startswith(prefix[:-1])
    return path == prefix or path.startswith(prefix.rstrip("/") + "/")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """
    One file under management.

    Attributes:
        path: absolute, its parent resolved at registration.
        registered_ms: the last registration, by the Redis clock.
        deadline_ms: the file is not deleted before; a hold or a retry may postpone the deletion further.
        size_bytes: at registration, or after it was compressed; 0 if the file did not exist yet.
        identity: which object was registered, as opaque text; NO_IDENTITY if its name is proof enough.
        flags: letters of Flag.
        uid: the owner of the file at registration, NO_UID if unknown.
        tags: labels that the caller chose.
        state: None in a claim, because every claimed record is leased.
        due_ms: the next attempt, or the end of the last keeper; None if that has no end, or the state no such time.
        attempts: the number of failed attempts to delete it.
        last_error: why the last attempt did not delete it, in one word; "" for no error.
        hold_reason: the reason of the keeper that lasts longest, as its caller wrote it; "" for none.
        keepers: the number of its keepers; 1000 stands for more.
        slack_ms: how far Redis's clock has jumped ahead. It is part of *due_ms*, but not of *deadline_ms*.
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
    keepers: int = 0
    slack_ms: int = 0

    def matches(self, *, tags: Sequence[str] = (), prefix: str = "") -> bool:
        """Whether it has all of *tags*, and ``has_prefix(path, prefix)``."""
        return set(tags) <= set(self.tags) and has_prefix(self.path, prefix)

    def has_ended_hold(self, now_ms: int) -> bool:
        """Whether all its holds have ended; the next clean-up makes it wait for its own deadline again."""
        return self.state is State.HELD and self.due_ms is not None and self.due_ms <= now_ms

    def is_near_expiry(self, now_ms: int, fraction: float = NEAR_EXPIRY) -> bool:
        """Whether more than *fraction* of its life is over. Only for waiting files outside the quarantine."""
        age_ms, life_ms = now_ms - self.slack_ms - self.registered_ms, self.deadline_ms - self.registered_ms
        return self.state is State.WAITING and not self.is_quarantined and age_ms > fraction * life_ms

    @property
    def expires_ms(self) -> int:
        """When its deadline passes, by the Redis clock as it is now."""
        return self.deadline_ms + self.slack_ms

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
            "keepers": self.keepers,
        }


class Keeper(NamedTuple):
    """
    One hold of a file. The file stays while it has one.

    Attributes:
        name: of whoever holds the file, usually login@program; a name holds a file once.
        reason: as its caller wrote it, "" for none.
        ends_ms: by the Redis clock; None if the hold has no end.
    """

    name: str
    reason: str
    ends_ms: int | None

    def as_dict(self) -> dict[str, Any]:
        return self._asdict()


@dataclass(frozen=True, slots=True)
class NewFile:
    """
    A file to register, as it was inspected (or is about to be created). It has no points in time, because only the
    Redis clock counts.
    """

    path: str
    ttl_ms: int
    size_bytes: int = 0
    identity: str = NO_IDENTITY
    flags: str = ""
    uid: int = NO_UID
    tags: tuple[str, ...] = ()
    age_ms: int = 0


class Rewrite(NamedTuple):
    """
    The object that has the name of a rewritten file now.

    Attributes:
        changed_ns: its last change, by the clock of its file system; usually this host's.
    """

    identity: str
    size_bytes: int
    changed_ns: int

    def age_ms(self, now_ns: int) -> int:
        """The time since its last change; 0 if that is in the future."""
        return max(now_ns - self.changed_ns, 0) // 1_000_000


class Obstacle(NamedTuple):
    """
    What stands against deleting a directory: an entry in it that has to stay. What stands against deleting a file:
    another volume that registered it.

    Attributes:
        path: of that entry; or the base directory of that volume.
        reason: one of the words of deletion/promises.py.
        until_ms: when it no longer stands against it, by the Redis clock; None if that is unknown.
    """

    path: str
    reason: str
    until_ms: int | None = None


class Deletion(NamedTuple):
    """
    The deleter's result for one file.

    Attributes:
        record: of the file; ``path`` is its path.
        outcome: see Outcome.
        way: None if the outcome was clear before a way was chosen.
        freed_bytes: bytes that the disk got back; 0 for a file with another hard link or an open reader.
        reason: one short word for people and metrics ("symlink", "EACCES"), "" if nothing went wrong.
        rewrite: the new object, if the outcome is REWRITTEN.
        obstacle: for what is busy because of other registered files, one of them; else None.
    """

    record: FileRecord
    outcome: Outcome
    way: Way | None = None
    freed_bytes: int = 0
    reason: str = ""
    rewrite: Rewrite | None = None
    obstacle: Obstacle | None = None

    @classmethod
    def blocked(cls, record: FileRecord, way: Way | None, obstacle: Obstacle) -> Deletion:
        """It stays because of *obstacle*."""
        return cls(record, Outcome.BUSY, way, reason=obstacle.reason, obstacle=obstacle)

    @property
    def path(self) -> str:
        return self.record.path
