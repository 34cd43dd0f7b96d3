"""
What a clean-up would do to a file, without changing anything: for dry runs, for ``explain``, and before an eviction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ..deletion import Deleter
from ..plugins import Hooks
from ..records import GONE, Deletion, FileRecord, Obstacle, Outcome, State
from ..registry import Registry
from ..settings import Settings
from .batch import contents_first
from .beside import Beside
from .cause import Cause
from .nested import ExpectedPromises, NestedPromises
from .outlook import Outlook

CREATION_SECONDS = 2.0
"""create() registers a file before creating it. For this long, a missing created file may still appear."""

NOT_CREATED = "unmade"
"""The reason of the outcome of such a file."""

GONE_BY_ITSELF = (Outcome.MISSING, Outcome.REPLACED, Outcome.REWRITTEN)

Look = Callable[[FileRecord], Deletion]
Wanted = Callable[[FileRecord], bool]


class Preview:
    """Previews what a clean-up would do to files of one volume."""

    def __init__(
        self,
        registry: Registry,
        deleter: Deleter,
        promises: NestedPromises,
        hooks: Hooks,
        settings: Settings,
    ) -> None:
        self.registry = registry
        self.promises = promises
        self.beside = Beside(promises)
        self.deleter = deleter
        self.hooks = hooks
        self.settings = settings

    def matching(self, wanted: Wanted, cause: Cause, outlook: Outlook) -> Iterator[Deletion]:
        """
        Yields what a clean-up for *cause* would do to each *wanted* file, in the order of the clean-up. For EXPIRED
        only due files.
        """
        early = cause is not Cause.EXPIRED
        outlook.log(self.registry.volume.base_dir, early=early)
        if not outlook.claims(early=early):
            return

        def goes_early(record: FileRecord) -> bool:
            return early and (cause.claims_quarantined or not record.is_quarantined) and wanted(record)

        promises = ExpectedPromises(self.promises, goes_early, outlook)
        quarantine = self._has_quarantine and cause.quarantines
        with self.deleter.preview(quarantine=quarantine, promises=promises) as look:
            later: list[FileRecord] = []
            now_ms = 0
            for now_ms, records in self._claimable(wanted, goes_early, outlook, early=early):
                # What is in a directory goes first, also if another page has it.
                postponed = [record for record in records if early and record.is_directory]
                others = [record for record in records if not (early and record.is_directory)]
                yield from self._expected(others, promises, look, now_ms, cause)
                later += postponed
            yield from self._expected(later, promises, look, now_ms, cause)

    def _claimable(
        self, wanted: Wanted, goes_early: Wanted, outlook: Outlook, *, early: bool
    ) -> Iterator[tuple[int, list[FileRecord]]]:
        """Pages of the records that a clean-up would claim, with the Redis clock (ms)."""
        registry, later_ms = self.registry, outlook.later_ms
        for page in registry.waiting_paths() if early else registry.due_paths(later_ms=later_ms):
            now_ms, entries = registry.read(page)
            waiting = [r for r in entries if r is not None and r.state is State.WAITING and wanted(r)]
            yield now_ms, [r for r in waiting if is_due(r, outlook.time(now_ms)) or goes_early(r)]
        for page in registry.reapable_paths(later_ms=later_ms, jumped_ms=outlook.jumped_ms):
            now_ms, entries = registry.read(page)
            until_ms = outlook.time(now_ms)
            reaped = [
                r
                for r in entries
                if r is not None and wanted(r) and (r.state is not State.HELD or r.has_ended_hold(until_ms))
            ]
            yield now_ms, [r for r in reaped if r.expires_ms <= until_ms or goes_early(r)]

    def _expected(
        self,
        records: Sequence[FileRecord],
        promises: ExpectedPromises,
        look: Look,
        now_ms: int,
        cause: Cause,
    ) -> Iterator[Deletion]:
        """The expected results of *records*, the contents of directories first."""
        for group in contents_first(records):
            for result in self._previews(group, look):
                expected = unless_in_creation(result, now_ms, cause)
                if expected.outcome not in GONE:
                    promises.kept.add(expected.path)
                yield expected

    def expired(self, record: FileRecord, now_ms: int, outlook: Outlook) -> Deletion:
        """Returns what a clean-up would do to one file if it were due now."""
        promises = self.promises.with_horizon(outlook.horizon)
        with self.deleter.preview(quarantine=self._has_quarantine, promises=promises) as look:
            return unless_in_creation(next(self._previews([record], look)), now_ms, Cause.EXPIRED)

    def evicted(self, records: Sequence[FileRecord]) -> Iterator[Deletion]:
        """Yields what an eviction would do to each file of a batch; plug-ins are asked once."""
        with self.deleter.preview() as look:
            yield from self._previews(records, look)

    def vetoed(self, records: Sequence[FileRecord], vetoes: Mapping[str, str]) -> list[Deletion]:
        """Returns the results for vetoed files, with the reasons. A veto does not keep the record of a missing file."""
        with self.deleter.preview() as look:
            return [_vetoed(look(record), vetoes[record.path]) for record in records if record.path in vetoes]

    def blocked(self, records: Sequence[FileRecord], obstacles: Mapping[str, Obstacle]) -> list[Deletion]:
        """As ``vetoed``, for files that another volume promised to keep."""
        with self.deleter.preview() as look:
            return [
                _blocked(look(record), obstacles[record.path])
                for record in records
                if record.path in obstacles
            ]

    @property
    def _has_quarantine(self) -> bool:
        return self.settings.quarantine_seconds > 0

    def _previews(self, records: Sequence[FileRecord], look: Look) -> Iterator[Deletion]:
        vetoes, obstacles = self.hooks.vetoes(records), self.beside.expected(records)
        for record in records:
            result = look(record)
            if (reason := vetoes.get(record.path)) is not None:
                result = _vetoed(result, reason)
            elif (obstacle := obstacles.get(record.path)) is not None:
                result = _blocked(result, obstacle)
            yield result


def is_due(record: FileRecord, now_ms: int) -> bool:
    return record.due_ms is not None and record.due_ms <= now_ms


def may_be_in_creation(record: FileRecord, now_ms: int) -> bool:
    """Whether the file may be missing because it is still being created."""
    return record.is_created and now_ms - record.registered_ms < CREATION_SECONDS * 1000


def unless_in_creation(deletion: Deletion, now_ms: int, cause: Cause) -> Deletion:
    """Returns *deletion*, or BUSY if the file is missing because it may still be being created."""
    if (
        deletion.outcome is Outcome.MISSING
        and cause.awaits_creation
        and may_be_in_creation(deletion.record, now_ms)
    ):
        return Deletion(deletion.record, Outcome.BUSY, deletion.way, reason=NOT_CREATED)
    return deletion


def _vetoed(result: Deletion, reason: str) -> Deletion:
    return (
        result if result.outcome in GONE_BY_ITSELF else Deletion(result.record, Outcome.BUSY, reason=reason)
    )


def _blocked(result: Deletion, obstacle: Obstacle) -> Deletion:
    if result.outcome in GONE_BY_ITSELF:
        return result
    return Deletion.blocked(result.record, result.way, obstacle)
