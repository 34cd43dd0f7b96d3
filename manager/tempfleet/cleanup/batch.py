"""
A claim as its holder sees it: the remaining lease time, and the outcome of each file so far. And the time for all
claims of one clean-up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from threading import Event

from ..deletion import CLAIMED, PROMISED, Quarantined
from ..errors import LeaseLost, RegistryUnavailable
from ..filesystem import LOOK_SECONDS, Root
from ..logs import logger
from ..records import GONE, Deletion, FileRecord, Flag
from ..registry import Claim, Registry
from ..threads import SignalSafeCall
from .beside import ClaimsBeside
from .cause import Cause
from .host_clock import boot_seconds

USABLE = 0.75
"""The share of a lease in which its holder may delete."""

STUCK_SECONDS = 30.0
"""How long one step of a deletion may take in a root that answers. Then other roots do not wait for it any longer."""

_DIRECTORY = Flag.DIRECTORY.value


def contents_first(records: Sequence[FileRecord]) -> Iterator[Sequence[FileRecord]]:
    """
    The records in groups: the files, then the directories, the deepest first. So whatever was claimed together with a
    directory is deleted, or kept, before the directory is looked at.
    """
    directories = [record for record in records if _DIRECTORY in record.flags]
    if not directories:
        yield records
        return
    yield [record for record in records if _DIRECTORY not in record.flags]
    directories.sort(key=depth_of, reverse=True)
    for _, group in groupby(directories, depth_of):
        yield list(group)


def depth_of(record: FileRecord) -> int:
    return record.path.count("/")


class Lease:
    """
    The remaining time of a claim, measured on the clock since the boot from *before* the claim was sent.

    So a holder stops before the registry gives its files to another claim, whatever the wall clock does, and also if
    the process or the host was suspended. A quarter of the lease is reserved for the last unlink and the ack.

    Attributes:
        end: when the holder stops, by ``boot_seconds``.
        beside: the claims of the same files in other volumes; they last as long.
    """

    def __init__(self, registry: Registry, *, lease_ms: int) -> None:
        self.registry = registry
        self.lease_ms = lease_ms
        self.seconds = lease_ms / 1000
        self.beside = ClaimsBeside()
        self._requested = boot_seconds()
        self.end = self._requested + self.seconds * USABLE

    def extend(self, token: int) -> None:
        """
        Request the full time again, if a quarter of it is over since the last request. If the registry does not
        answer, the lease keeps its old end.
        """
        now = boot_seconds()
        if now < self._requested + self.seconds / 4:
            return
        self._requested = now
        try:
            self.registry.extend(token, lease_ms=self.lease_ms)
            self.beside.extend(self.lease_ms)
            self.end = now + self.seconds * USABLE
        except LeaseLost:
            self.end = -math.inf
            logger.info("Claim %d ran out before it was settled; its files are left to the next claim", token)
        except RegistryUnavailable as exc:
            logger.warning("Claim %d could not be extended: %s", token, exc)


class Budget:
    """
    How long one clean-up may take.

    Attributes:
        end: when it ends, by ``boot_seconds``.
        is_stopped: whether the caller ended it before.
    """

    def __init__(self, seconds: float | None, stop: Event | None) -> None:
        self.end = math.inf if seconds is None else boot_seconds() + seconds
        self.is_stopped: Callable[[], bool] = _never if stop is None else stop.is_set

    def holds(self) -> bool:
        return boot_seconds() < self.end and not self.is_stopped()


NOTHING = Claim(0, 0, 0, ())
"""The claim of a batch that has not begun."""


def _never() -> bool:
    return False


@dataclass(slots=True)
class Batch:
    """
    A claim with its lease, the cause of the deletions, and their results so far.

    Attributes:
        take: makes the claim.
        claim: without records before ``begin``.
        may_postpone: a directory that a file in it keeps is tried again later, because that file may go first.
        postponed: those directories; they are handed back.
        is_halted: no other file may be started.
        is_deleting: files are being deleted. Before, plug-ins are asked; afterwards the claim is settled.
        root: the root in which the thread of the batch deletes files itself, at this moment.
        progress: when the last file was started, or a part of it was done, by ``boot_seconds``.
        round_trips: those of the thread that cleaned the batch.
    """

    take: Callable[[], Claim]
    registry: Registry
    cause: Cause
    lease_ms: int
    claim: Claim = NOTHING
    may_postpone: bool = False
    is_halted: bool = False
    is_deleting: bool = False
    root: Root | None = None
    progress: float = field(default_factory=boot_seconds)
    round_trips: int = 0
    # Several threads append; append is atomic.
    deletions: list[Deletion] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    postponed: list[str] = field(default_factory=list)
    _lease: Lease | None = None
    _looked: float = -math.inf
    _is_left: bool = False

    def begin(self) -> tuple[Claim, Lease]:
        """Claim the files. The time of the lease is counted from before."""
        lease = Lease(self.registry, lease_ms=self.lease_ms)
        self.claim = self.take()
        self._lease = lease
        return self.claim, lease

    @property
    def lease(self) -> Lease:
        """That of the claim, after ``begin``."""
        assert self._lease is not None
        return self._lease

    def extend(self) -> None:
        """Request more time for the claim, if it is needed; called by another thread."""
        if self._lease is not None and self.claim.records and not self.is_lost:
            self._lease.extend(self.claim.token)

    @property
    def is_lost(self) -> bool:
        """Whether nothing was done for so long that the lease is not extended."""
        return (
            self.is_deleting
            and self._lease is not None
            and boot_seconds() - self.progress > self._lease.seconds
        )

    @property
    def is_stuck(self) -> bool:
        """Whether one step of a deletion takes too long, although the root answers: only some of its paths hang."""
        return self.is_deleting and boot_seconds() - self.progress > STUCK_SECONDS

    def has_hung(self, call: SignalSafeCall) -> bool:
        """
        Whether *call*, the thread of the batch, hangs in a root that does not answer, or for STUCK_SECONDS. Then it is
        left alone, and its files are claimed again after the lease.
        """
        root, lease, now = self.root, self._lease, boot_seconds()
        if self._is_left:
            return True
        if root is None or lease is None or now - max(self.progress, self._looked) < LOOK_SECONDS:
            return False
        if root.calls.answers() and not self.is_stuck:
            self._looked = boot_seconds()
            return False
        self._is_left = True
        root.calls.leave(call)
        return True

    def add(self, deletion: Deletion) -> None:
        if self.may_postpone and deletion.reason in (PROMISED, CLAIMED):
            self.postponed.append(deletion.path)
        else:
            self.deletions.append(deletion)

    def paths_done(self) -> set[str]:
        """Returns the paths of the files whose fate is known."""
        kept = {*self.postponed, *(result.record.path for result in self.quarantined)}
        return kept | {deletion.path for deletion in self.deletions}

    def paths_left(self) -> set[str]:
        """Returns the paths of the files that are not gone."""
        gone = {deletion.path for deletion in self.deletions if deletion.outcome in GONE}
        return {record.path for record in self.claim.records if record.path not in gone}


def named_batches(
    pages: Iterable[Sequence[str]], take: Callable[[Sequence[str]], Batch], *, limit: int
) -> Iterator[Batch]:
    """
    The batches that *take* makes of up to *limit* paths of *pages*, each path at most once; the caller runs each before
    it asks for the next. Only a directory that a file in it keeps is tried again, after all other files, the deepest
    first.
    """

    def batches(paths: Sequence[str]) -> Iterator[Batch]:
        for start in range(0, len(paths), limit):
            yield take(paths[start : start + limit])

    # Files that were tried and are not gone; a file that is gone cannot be claimed again.
    tried: set[str] = set()
    postponed: list[str] = []
    for page in pages:
        for batch in batches([path for path in page if path not in tried]):
            batch.may_postpone = True
            yield batch
            tried |= batch.paths_left()
            postponed += batch.postponed
    postponed.sort(key=lambda path: path.count("/"), reverse=True)
    yield from batches(postponed)
