"""
What a clean-up would do to a file, without changing anything: for dry runs, for ``explain``, and before an eviction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ..deletion import Deleter
from ..plugins import Hooks
from ..records import Deletion, FileRecord, Outcome, State
from ..registry import Registry
from ..settings import Settings
from .cause import Cause

MAKING_SECONDS = 2.0
"""create() registers before it makes: a created file that is not there may still come, for so long."""

UNMADE = "unmade"
"""The reason of such a file."""

GONE_BY_ITSELF = (Outcome.MISSING, Outcome.REPLACED)

Look = Callable[[FileRecord], Deletion]
Wanted = Callable[[FileRecord], bool]


class Preview:
    """Previews of the deletion of files of one volume."""

    def __init__(self, registry: Registry, deleter: Deleter, hooks: Hooks, settings: Settings) -> None:
        self.registry = registry
        self.deleter = deleter
        self.hooks = hooks
        self.settings = settings

    def matching(self, wanted: Wanted, cause: Cause) -> Iterator[Deletion]:
        """
        What a clean-up for *cause* would do to each *wanted* file, in its order; in pages. EXPIRED: to those that are
        due.
        """
        early = cause is not Cause.EXPIRED

        def may_go(record: FileRecord) -> bool:
            """Before its time."""
            return early and (cause.claims_quarantined or not record.is_quarantined)

        with self.deleter.examining(set_aside=self._has_grace and cause.quarantines) as look:
            for page in self.registry.waiting_paths() if early else self.registry.due_paths():
                now_ms, found = self.registry.read(page)
                records = [r for r in found if r is not None and r.state is State.WAITING and wanted(r)]
                due = [r for r in records if is_due(r, now_ms) or may_go(r)]
                yield from (unless_unmade(result, now_ms, cause) for result in self._previews(due, look))
            for page in self.registry.reapable_paths():
                now_ms, found = self.registry.read(page)
                back = [
                    r for r in found if r is not None and wanted(r) and (r.deadline_ms <= now_ms or may_go(r))
                ]
                yield from (unless_unmade(result, now_ms, cause) for result in self._previews(back, look))

    def expired(self, record: FileRecord, now_ms: int) -> Deletion:
        """What would become of one file, were it due now."""
        with self.deleter.examining(set_aside=self._has_grace) as look:
            return unless_unmade(next(self._previews([record], look)), now_ms, Cause.EXPIRED)

    def evicted(self, records: Sequence[FileRecord]) -> Iterator[Deletion]:
        """The same of a batch that is to be evicted; plug-ins are asked once."""
        with self.deleter.examining() as look:
            yield from self._previews(records, look)

    def vetoed(self, records: Sequence[FileRecord], kept: Mapping[str, str]) -> list[Deletion]:
        """Of files that plug-ins keep, each for its reason. One that is not there any more need not stay registered."""
        with self.deleter.examining() as look:
            return [_kept(look(record), kept[record.path]) for record in records if record.path in kept]

    @property
    def _has_grace(self) -> bool:
        return self.settings.quarantine_seconds > 0

    def _previews(self, records: Sequence[FileRecord], look: Look) -> Iterator[Deletion]:
        kept = self.hooks.vetoes(records)
        for record in records:
            reason = kept.get(record.path)
            yield look(record) if reason is None else _kept(look(record), reason)


def is_due(record: FileRecord, now_ms: int) -> bool:
    return record.due_ms is not None and record.due_ms <= now_ms


def may_be_unmade(record: FileRecord, now_ms: int) -> bool:
    """Whether the file may not be there because it is still being made."""
    return record.is_created and now_ms - record.registered_ms < MAKING_SECONDS * 1000


def unless_unmade(deletion: Deletion, now_ms: int, cause: Cause) -> Deletion:
    """*deletion*, but a created file that is not there yet is waited for."""
    if (
        deletion.outcome is Outcome.MISSING
        and cause.awaits_creation
        and may_be_unmade(deletion.record, now_ms)
    ):
        return Deletion(deletion.record, Outcome.BUSY, deletion.way, reason=UNMADE)
    return deletion


def _kept(seen: Deletion, reason: str) -> Deletion:
    return seen if seen.outcome in GONE_BY_ITSELF else Deletion(seen.record, Outcome.BUSY, reason=reason)
