"""
Recovers files that interrupted clean-ups left in the private directories and that no claim would find soon.

Usually the next claim of the record finds the file there. But the record may not be due for a long time, belong to
another file of that name now, or be lost with Redis. Then only the journals and companions beside the files, and the
files themselves, show what they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from ..deletion import Deleter, QuarantinedFile, quarantined_of_namesakes, take_from_namesakes
from ..errors import PathError, RegistryFull, VolumeUnavailable
from ..logs import logger, printable
from ..records import FileRecord, State
from ..registry import NAMESAKES, Registry

INTERVAL_SECONDS = 3600.0
"""How often a process recovers such files if no claim ran out; the first time is before its first batch."""

_UNKNOWN = -1


class InterruptedMoves:
    """Recovers the files in the private directories of one volume."""

    def __init__(self, registry: Registry, deleter: Deleter) -> None:
        self.registry = registry
        self.deleter = deleter
        self._next = 0.0
        self._recovered_ever = 0

    def recover(self, may_go_on: Callable[[], bool], recovered_ever: int) -> None:
        """
        Move files back to their names, finish deletions, and register quarantined files that have no record. Does
        nothing if the last call was less than INTERVAL_SECONDS ago, and no claim of this volume ran out since. If a
        claim ran out whose process may still live (it was stopped), or Redis failed, the next call tries again.

        Args:
            recovered_ever: the number of files that were ever recovered from claims that ran out, by any process.
        """
        is_time = time.monotonic() >= self._next
        if not is_time and recovered_ever == self._recovered_ever:
            return
        self._recovered_ever = _UNKNOWN
        is_moving = self.deleter.is_moving()  # asked first, because such a process may die at any time
        for file in self.deleter.recover(may_go_on):
            if file.back:
                logger.info("Moved %s back to its name; its deletion was interrupted", printable(file.path))
        if not is_moving:
            self._recovered_ever = recovered_ever
        if is_time:
            self._next = time.monotonic() + INTERVAL_SECONDS
        try:
            self._recover_quarantined(registers=is_time)
            if is_time:
                self._report_namesakes()
        except VolumeUnavailable:
            pass  # a root has stopped answering just now, which is logged

    def _recover_quarantined(self, *, registers: bool) -> None:
        """
        Give files their names back that a dead or suspended clean-up quarantined and did not report, unless their
        records are due; then the next claim reports them. If *registers*, register quarantined files that have no
        record, for example after Redis lost its data: otherwise they would stay in the quarantine for ever. Those of
        other registries are left to those.
        """
        ours = self.deleter.promises.owner()
        files = [file for file in self.deleter.files_in_quarantine() if file.owner.is_same(ours)]
        if not files:
            return
        # The path before is read first, because its record disappears when the other one appears.
        _, before = self.registry.read([file.path for file in files])
        now_ms, now = self.registry.read([file.aside_path for file in files])
        former = self.registry.former([file.path for file in files])
        lost: list[QuarantinedFile] = []
        for file, old_record, record, unregistered in zip(files, before, now, former, strict=True):
            if record is not None:
                continue
            if unregistered is not None and self.deleter.is_of(unregistered, file):
                self._give_back(file)  # its user keeps it
                self.registry.forget_former(unregistered)
            elif old_record is None or not self.deleter.is_of(old_record, file):
                lost.append(file)
            elif not (file.begun or old_record.state is State.LEASED or _is_due(old_record, now_ms)):
                self._give_back(file)
        if registers:
            self._register(lost, now_ms)

    def _report_namesakes(self) -> None:
        """Nobody purges them until a person takes them over, so the problems of the volume show them."""
        files = sum(1 for _ in self._of_namesakes())
        if files or self.registry.stats().meta.get(NAMESAKES):
            try:
                self.registry.set_meta(NAMESAKES, str(files) if files else "")
            except RegistryFull as exc:
                logger.warning("%d quarantined files of another registry are not reported: %s", files, exc)

    def _give_back(self, file: QuarantinedFile) -> None:
        try:
            self.deleter.give_back(file)
        except (PathError, OSError) as exc:
            logger.error("%s is kept in quarantine: %s", printable(file.path), exc)
        else:
            logger.info("Moved %s back to its name; its deletion was interrupted", printable(file.path))

    def adoptable(self) -> list[QuarantinedFile]:
        """The quarantined files that ``adopt`` would take over now."""
        self.deleter.promises.owner(fresh=True)
        return list(self._of_namesakes())

    def adopt(self) -> list[QuarantinedFile]:
        """Take over what registries that only have our names left in the private directories."""
        files = self.adoptable()
        # The records come first, because the first one makes the registry if Redis is empty.
        self._register(files, self.registry.now_ms())
        take_from_namesakes(self.deleter.roots, self.deleter.promises.owner(fresh=True))
        self._next = 0.0
        self.recover(lambda: True, _UNKNOWN)
        return files

    def _of_namesakes(self) -> Iterator[QuarantinedFile]:
        return quarantined_of_namesakes(self.deleter.roots, self.deleter.promises.owner())

    def _register(self, files: Sequence[QuarantinedFile], now_ms: int) -> None:
        registered = [new for file in files if (new := self.deleter.as_new_file(file, now_ms)) is not None]
        if not registered:
            return
        try:
            self.registry.register(registered)
        except RegistryFull as exc:
            # The clean-up goes on.
            logger.warning("%d quarantined files have no record yet: %s", len(registered), exc)
        else:
            logger.info("Registered %d quarantined files that had no record", len(registered))


def _is_due(record: FileRecord, now_ms: int) -> bool:
    return record.due_ms is not None and record.due_ms <= now_ms
