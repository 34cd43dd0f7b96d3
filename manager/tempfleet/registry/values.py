"""
The arguments and results of the registry's methods.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self, TypeVar

from ..errors import AlreadyClaimed, TooManyTags
from ..records import FileRecord, NewFile, State
from ..settings import MAX_BATCH
from .codec import groups, unpack, unpack_or_broken
from .keys import Volume

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Claim:
    """
    Records taken into a lease.

    Attributes:
        token: every ack and nack needs it; 0 if nothing was claimed.
        now_ms: the time of the claim, by the Redis clock.
        left: the number of further due files.
        slack_ms, jumped_ms: how far the clock of Redis jumped ahead, as scripts/lib/slack.lua and horizon.lua use it.
        epoch: of the registry, "" if there is none.
        obstacle: "older" if Redis has less than the caller knows, "pause" during a pause; then nothing was claimed.
        beside: the other volumes of the host, as they were after the claim.
        disks: the identities of the roots that files were registered in, see DISKS in keys.py.
    """

    token: int
    now_ms: int
    left: int
    records: tuple[FileRecord, ...]
    slack_ms: int = 0
    jumped_ms: int = 0
    epoch: str = ""
    obstacle: str = ""
    beside: tuple[Volume, ...] = ()
    disks: str = ""

    @classmethod
    def of(cls, reply: Sequence[Any], beside: tuple[Volume, ...] = ()) -> Claim:
        """From the reply of scripts/claim.lua."""
        token, now_ms, left, slack, jumped, epoch, obstacle, disks, *files = reply
        slack_ms = int(slack)
        records = tuple(
            unpack_or_broken(path, packed, attempts=int(attempts), slack_ms=slack_ms)
            for path, packed, attempts in groups(files, 3)
        )
        return cls(
            int(token or 0),
            int(now_ms),
            left,
            records,
            slack_ms,
            int(jumped),
            epoch.decode(),
            obstacle.decode(),
            beside,
            disks.decode(),
        )

    @property
    def past_ms(self) -> int:
        """Deadlines at or before it have passed."""
        return self.now_ms - self.slack_ms


class Horizon(NamedTuple):
    """
    What a process knows of the time and of the registry, for scripts/lib/horizon.lua and claim.lua. The default knows
    nothing.

    Attributes:
        latest_ms, expected_ms: the time of Redis, without its jumps, at most and at least; None if it is not known.
        last_token, epoch: of the volume.
    """

    latest_ms: int | None = None
    expected_ms: int | None = None
    last_token: int = 0
    epoch: str = ""

    @property
    def times(self) -> dict[str, int | str]:
        """As scripts take them."""
        return {
            "latest_ms": "" if self.latest_ms is None else self.latest_ms,
            "expected_ms": "" if self.expected_ms is None else self.expected_ms,
        }


UNKNOWN = Horizon()


@dataclass(frozen=True, slots=True)
class Nack:
    """
    Give one claimed file back.

    Attributes:
        delay_ms: the time until the next attempt; None means the file's own deadline.
        bury: make it a dead letter; *delay_ms* is ignored.
        counts: whether this was a failed attempt.
        reason: a short word from a bounded set, because it names a counter.
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
        unheld: files whose last keeper ended.
        more: there is more to reap.
        recovered_ever: files of expired claims, also those of all earlier reaps by any process.
    """

    recovered: int
    unheld: int
    more: bool
    recovered_ever: int

    @classmethod
    def of(cls, reply: Sequence[int]) -> Reaped:
        """From the reply of scripts/reap.lua."""
        recovered, unheld, more, ever = reply
        return cls(recovered, unheld, bool(more), int(ever))


class Inside(NamedTuple):
    """
    A registered file in a directory that is about to be deleted.

    Attributes:
        kind: see scripts/inside.lua.
        until_ms: when that ends, without the slack of the clock; None if that is unknown.
        now_ms: when it was read, by the Redis clock.
    """

    path: str
    kind: str
    until_ms: int | None
    now_ms: int

    @classmethod
    def of(cls, reply: Sequence[Any], paths: Sequence[str]) -> list[Self]:
        """From the reply of scripts/inside.lua."""
        now_ms = int(reply[0])
        return [
            cls(paths[i], kind.decode(), int(until) if until else None, now_ms)
            for i, kind, until in zip(*[iter(reply[1:])] * 3, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Limits:
    """The totals that a volume, or one tag in it, may have after a registration; None for no limit."""

    files: int | None = None
    bytes: int | None = None
    tag_files: int | None = None
    tag_bytes: int | None = None

    def as_args(self) -> dict[str, int | str]:
        return {name: "" if limit is None else limit for name, limit in asdict(self).items()}


NO_LIMITS = Limits()

NOTHING_OWN: Mapping[str, int] = {}
"""For a caller that remembers no registration of its own."""


class Cursor(NamedTuple):
    """Where a page of waiting files begins, see scripts/page.lua; the default is the beginning."""

    least: str = "-inf"
    skip: int = 0


@dataclass(slots=True)
class TagTotal:
    """The registered files with one tag."""

    files: int = 0
    bytes: int = 0


REFUSALS: dict[str, type[AlreadyClaimed] | type[TooManyTags]] = {
    "claimed": AlreadyClaimed,
    "tags": TooManyTags,
}
"""The codes of registrations that changed nothing -> the errors that callers get."""


@dataclass(frozen=True, slots=True)
class Registration:
    """
    The result of registering one file.

    Attributes:
        code: see scripts/register.lua.
        packed: the record in its text form; b"" if nothing changed.
        beside: the other volumes of the host, as they were after the registration.
    """

    code: str
    file: NewFile
    packed: bytes = b""
    beside: tuple[Volume, ...] = ()

    @property
    def is_accepted(self) -> bool:
        return self.packed != b""

    def check(self) -> None:
        """
        Raises:
            AlreadyClaimed, TooManyTags: the file was not registered. For other codes see ``capacity.quota_error``.
        """
        if self.code in REFUSALS:
            raise REFUSALS[self.code].of(self.file.path)

    @property
    def record(self) -> FileRecord:
        """
        The record as it waits now, with what earlier registrations of the file added. After "behind" the path still has
        the record of the file before.
        """
        path = os.fsencode(self.file.path)
        return unpack(path, self.packed, state=State.WAITING, due_ms=self.deadline_ms)

    @property
    def registered_ms(self) -> int:
        return int(self.packed.split(b" ", 2)[1])

    @property
    def deadline_ms(self) -> int:
        return int(self.packed.split(b" ", 3)[2])


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut *items* into batches of what one script may move."""
    for start in range(0, len(items), MAX_BATCH):
        yield items[start : start + MAX_BATCH]
