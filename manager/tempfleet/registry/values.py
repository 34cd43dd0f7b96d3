"""
What the registry's moves take and give, as values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ..records import FileRecord, NewFile, State


@dataclass(frozen=True, slots=True)
class Claim:
    """
    Records popped into a lease.

    Attributes:
        token: shown with every ack and nack; 0 when nothing was claimed.
        now_ms: the registry's clock at the claim.
        left: how many more are due.
    """

    token: int
    now_ms: int
    left: int
    records: tuple[FileRecord, ...]


@dataclass(frozen=True, slots=True)
class Nack:
    """
    What a nack says of one file.

    Attributes:
        delay_ms: None puts it back at its own deadline.
        bury: stop retrying; *delay_ms* is ignored.
        counts: whether this was a failed attempt.
        reason: a short word from a bounded set; it names a counter.
    """

    path: str
    delay_ms: int | None = None
    bury: bool = False
    counts: bool = True
    reason: str = ""

    @property
    def delay(self) -> int | str:
        """As scripts/nack.lua takes it."""
        if self.bury:
            return "never"
        return "own" if self.delay_ms is None else self.delay_ms


@dataclass(frozen=True, slots=True)
class Reaped:
    """
    What one call of ``reap`` gave back.

    Attributes:
        recovered: files of expired claims.
        unheld: files whose hold ended.
        more: there is more to reap.
    """

    recovered: int
    unheld: int
    more: bool

    @classmethod
    def of(cls, reply: Sequence[int]) -> Reaped:
        """From the reply of scripts/reap.lua."""
        recovered, unheld, more = reply
        return cls(recovered, unheld, bool(more))


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a registration may let a volume, or one tag in it, grow to; None for no limit."""

    files: int | None = None
    bytes: int | None = None
    tag_files: int | None = None
    tag_bytes: int | None = None

    def as_args(self) -> dict[str, int | str]:
        return {name: "" if most is None else most for name, most in asdict(self).items()}


NO_LIMITS = Limits()


@dataclass(slots=True)
class TagTotal:
    """What is registered under one tag."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Registration:
    """What registering one file came to; *code* is one of scripts/register.lua's."""

    code: str
    file: NewFile
    registered_ms: int
    deadline_ms: int

    @property
    def is_accepted(self) -> bool:
        """Whether anything changed: "claimed" and "over:..." change nothing."""
        return self.code != "claimed" and not self.code.startswith("over:")

    @property
    def record(self) -> FileRecord:
        """The record as it now waits; for "behind" and "claimed" there is another one in its place."""
        file = self.file
        return FileRecord(
            path=file.path,
            registered_ms=self.registered_ms,
            deadline_ms=self.deadline_ms,
            size_bytes=file.size_bytes,
            identity=file.identity,
            flags=file.flags,
            uid=file.uid,
            tags=file.tags,
            state=State.WAITING,
            due_ms=self.deadline_ms,
        )
