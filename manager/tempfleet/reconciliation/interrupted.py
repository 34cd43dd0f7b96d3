"""
Recovers files that interrupted clean-ups left in the private directories and that no claim would find soon.

Usually the next claim of the record finds the file there. But the record may not be due for a long time, belong to
another file of that name now, or be lost with Redis. Then only the journals and companions beside the files, and the
files themselves, show what they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..deletion import Deleter, QuarantinedFile
from ..errors import RegistryFull
from ..logs import logger, printable
from ..registry import Registry

INTERVAL_SECONDS = 3600.0
"""How often a process recovers such files if no claim ran out; the first time is before its first batch."""


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
        nothing if the last call was less than INTERVAL_SECONDS ago, and no claim of this volume ran out since.

        Args:
            recovered_ever: the number of files that were ever recovered from claims that ran out, by any process.
        """
        is_time = time.monotonic() >= self._next
        if not is_time and recovered_ever == self._recovered_ever:
            return
        self._recovered_ever = recovered_ever
        for file in self.deleter.recover(may_go_on):
            if file.back:
                logger.info("Moved %s back to its name; its deletion was interrupted", printable(file.path))
        if is_time:
            self._next = time.monotonic() + INTERVAL_SECONDS
            self._register_quarantined()

    def _register_quarantined(self) -> None:
        """
        Register quarantined files of this registry that have no record, for example after Redis lost its data.
        Otherwise they would stay in the quarantine for ever, and use its space. Those of other registries are left to
        those.
        """
        ours = self.deleter.promises.owner()
        files = [file for file in self.deleter.files_in_quarantine() if file.owner.is_same(ours)]
        now_ms, lost = self._without_record(files)
        registered = [new for file in lost if (new := self.deleter.as_new_file(file, now_ms)) is not None]
        if not registered:
            return
        try:
            self.registry.register(registered)
        except RegistryFull as exc:
            # The clean-up goes on.
            logger.warning("%d quarantined files have no record yet: %s", len(registered), exc)
        else:
            logger.info("Registered %d quarantined files that had no record", len(registered))

    def _without_record(self, files: Sequence[QuarantinedFile]) -> tuple[int, list[QuarantinedFile]]:
        """
        Returns the files that have no record, neither under the path in the quarantine nor under the path before. While
        a file is being quarantined its record is still under the path before. That path is read first, because its
        record disappears when the other one appears.
        """
        _, before = self.registry.read([file.path for file in files])
        now_ms, now = self.registry.read([file.aside_path for file in files])
        return now_ms, [
            file
            for file, old_record, record in zip(files, before, now, strict=True)
            if record is None and (old_record is None or not self.deleter.is_of(old_record, file))
        ]
