"""
Decisions as pure functions: how long a file may live, when it is near its end, when to try again and when to stop
trying, and which file makes room first.
"""

from __future__ import annotations

import difflib
import math
import numbers
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from unicodedata import category

from .errors import InvalidTag, InvalidTTL, ReasonTooLong, SettingsError
from .records import GONE, Deletion, FileRecord, Outcome
from .registry.values import Kept
from .settings.settings import LONGEST_TTL_SECONDS, Settings, variables


def ttl_ms(seconds: object) -> int:
    """
    A time to live in whole milliseconds, at least one.

    Raises:
        InvalidTTL: not a number, NaN, zero or less, or longer than 366 days.
    """
    if not isinstance(seconds, numbers.Real) or isinstance(seconds, bool):
        raise InvalidTTL(f"A time to live is a number of seconds, not {seconds!r}.", value=seconds)
    try:
        value = float(seconds)
    except OverflowError:  # an integer of more than 308 digits
        value = math.inf
    if math.isnan(value) or value <= 0:
        raise InvalidTTL(f"A time to live is above zero seconds, not {seconds!r}.", value=seconds)
    if value > LONGEST_TTL_SECONDS:
        raise InvalidTTL(
            f"A time to live is at most {LONGEST_TTL_SECONDS} seconds (366 days), not {seconds!r}; "
            "hold() keeps a file for ever.",
            value=seconds,
        )
    return max(math.ceil(value * 1000), 1)


def hold_ms(seconds: object) -> int | None:
    """
    How long a hold lasts; None, as *seconds*, is for ever.

    Raises:
        InvalidTTL: as ``ttl_ms``.
    """
    try:
        return None if seconds is None else ttl_ms(seconds)
    except InvalidTTL:
        raise InvalidTTL(
            f"A hold is above zero seconds and at most 366 days, not {seconds!r}; without a time it is for ever.",
            value=seconds,
        ) from None


LONGEST_REASON = 500
"""Characters of a hold's reason: each costs Redis memory, once a held file."""


def hold_reason(words: str | None) -> str:
    """
    None is no reason.

    Raises:
        ReasonTooLong: it has more than 500 characters.
    """
    if words is not None and len(words) > LONGEST_REASON:
        raise ReasonTooLong
    return words or ""


LONGEST_TAG = 200
"""Characters: each file with the tag carries it, and so does each of its totals."""

ENDS_A_LINE = frozenset(("Cc", "Zl", "Zp"))
"""The Unicode categories of control characters and of what else begins a new line somewhere."""


def words(tags: Sequence[str]) -> tuple[str, ...]:
    """
    *tags*, each of them a tag.

    Raises:
        InvalidTag: one is empty, has more than 200 characters, or control characters among them.
        TypeError: they are no strings; or one string, which would be taken for a list of its letters.
    """
    if isinstance(tags, str | bytes):
        raise TypeError(f"tags is a list of words: [{tags!r:.200}]")
    for tag in (found := tuple(tags)):
        if not isinstance(tag, str):
            raise TypeError(f"a tag is a string, not {tag!r:.200}")
        if not 0 < len(tag) <= LONGEST_TAG or any(category(c) in ENDS_A_LINE for c in tag):
            raise InvalidTag(f"{tag[:LONGEST_TAG]!r} is no tag. {InvalidTag.__doc__}", value=tag)
    return found


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    When a file that would not go is tried again: exponential back-off with jitter, then the grave.

    Only failures count towards the grave. A busy file or a missing disk is nobody's mistake and may take days; these
    wait about as long as they have waited already, which doubles as well and needs no count.
    """

    first_ms: int
    longest_ms: int
    max_attempts: int

    @classmethod
    def of(cls, settings: Settings) -> RetryPolicy:
        return cls(
            int(settings.retry_delay_seconds * 1000),
            int(settings.retry_max_delay_seconds * 1000),
            settings.max_attempts,
        )

    def decide(self, deletion: Deletion, *, now_ms: int, early: bool = False) -> Kept:
        """
        What to tell the registry of a file that is not gone.

        Args:
            early: it was tried before its time, to make room; it falls due no sooner for that.
        """
        kept = self._decide(deletion, now_ms)
        left_ms = deletion.record.deadline_ms - now_ms
        if early and kept.delay_ms is not None:
            return replace(kept, delay_ms=max(kept.delay_ms, left_ms))
        return kept

    def _decide(self, deletion: Deletion, now_ms: int) -> Kept:
        if deletion.outcome in GONE:
            raise ValueError(f"{deletion.outcome} files are acked, not kept")
        path, reason = deletion.path, deletion.reason or deletion.outcome.value
        if deletion.outcome is Outcome.REFUSED:
            return Kept(path, bury=True, reason=reason)
        if deletion.outcome is Outcome.FAILED:
            failed = deletion.record.attempts + 1
            if failed >= self.max_attempts:
                return Kept(path, bury=True, reason=reason)
            return Kept(path, delay_ms=self.delay_ms(failed), reason=reason)
        overdue = now_ms - deletion.record.deadline_ms
        return Kept(path, delay_ms=self._jittered(overdue), counts=False, reason=reason)

    def delay_ms(self, failed: int) -> int:
        """The wait after the *failed*-th failure, 1 being the first."""
        return self._jittered(self.first_ms << min(failed - 1, 40))

    def _jittered(self, delay: int) -> int:
        bounded = min(max(delay, self.first_ms), self.longest_ms)
        return max(int(bounded * random.uniform(0.75, 1.0)), 1)


@dataclass(frozen=True, slots=True)
class Candidate:
    """
    A file that could make room.

    Attributes:
        size_bytes: what its going gives back: the blocks that it has on the disk, 0 while it has another hard link
            (where a quota counts sizes as they were registered: that size).
        files: the files, or inodes, that its going gives back; a directory has many.
        used_ms: when it was last read or written, as far as its file system tells; by this host's clock.
        now_ms: the Redis clock, which ``record.registered_ms`` is of.
    """

    record: FileRecord
    size_bytes: int
    files: int
    used_ms: int
    now_ms: int

    @property
    def age_ms(self) -> int:
        """Since its registration, at least 1."""
        return max(self.now_ms - self.record.registered_ms, 1)


Order = Callable[[Sequence[Candidate]], Sequence[float]]
"""An eviction policy: a number for each of some files; the file with the lowest goes first."""


def by(key: Callable[[Candidate], float]) -> Order:
    """The order of a key function."""
    return lambda candidates: [key(candidate) for candidate in candidates]


def eviction_policies() -> dict[str, Order]:
    """Name -> policy, of those that need no plug-in."""
    return {
        "oldest": by(lambda candidate: candidate.record.registered_ms),
        "largest": by(lambda candidate: -candidate.size_bytes),
        "least-recently-used": by(lambda candidate: candidate.used_ms),
        "size-age": by(lambda candidate: -candidate.size_bytes * candidate.age_ms),
    }


def eviction_policy(name: str, policies: Mapping[str, Order]) -> Order:
    """
    The policy called *name*.

    Raises:
        SettingsError: there is none; the error lists those that there are.
    """
    if name in policies:
        return policies[name]
    variable = variables()["eviction_policy"]
    meant = difflib.get_close_matches(name, policies, n=1)
    hint = f"; did you mean {meant[0]}?" if meant else ""
    raise SettingsError(
        f"{variable}={name!r}: must be one of {', '.join(sorted(policies))}{hint}",
        variable=variable,
        value=name,
    )
