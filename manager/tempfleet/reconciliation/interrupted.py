"""
Recovers files that interrupted clean-ups left in the private directories and that no claim would find again.

Usually the next claim of the record finds the file there. But the record may belong to another file of that name now,
or be lost with Redis. Then only the journals beside the files, and the files themselves, show what they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from ..deletion import Deleter, QuarantinedFile, Recovered, log, stands_for_another
from ..errors import RegistryFull
from ..filesystem import Roots
from ..logs import logger, printable
from ..records import FileRecord
from ..registry import Fleet, Registry

INTERVAL_SECONDS = 3600.0
"""How often a process recovers such files; the first time is before its first batch."""


class InterruptedMoves:
    """Recovers the files in the private directories of one volume."""

    def __init__(self, registry: Registry, roots: Roots, deleter: Deleter) -> None:
        self.registry = registry
        self.roots = roots
        self.deleter = deleter
        self._next = 0.0

    def recover(self, may_go_on: Callable[[], bool]) -> None:
        """
        Move files back to their names, finish deletions, and register quarantined files that have no record. Does
        nothing if the last call was less than INTERVAL_SECONDS ago.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + INTERVAL_SECONDS
        unfinished: list[Recovered] = []
        for file in self.deleter.recover():
            if file.back:
                logger.info("Moved %s back to its name; its deletion was interrupted", printable(file.path))
            elif file.left is not None:
                unfinished.append(file)
        self._finish_deletions(unfinished, may_go_on)
        self._register_quarantined()

    def _finish_deletions(self, unfinished: Sequence[Recovered], may_go_on: Callable[[], bool]) -> None:
        """
        Delete files that were half deleted when another file was registered under their name. The record belongs to
        the new file now, and the old one counts as replaced, so no other claim would ever find it.
        """
        _, records = self.registry.read([file.path for file in unfinished])
        for file, record in zip(unfinished, records, strict=True):
            if file.left is not None and record is not None and stands_for_another(record, file.left):
                for result in self.deleter.delete([file.left], token=file.token, may_go_on=may_go_on):
                    log(result)

    def _register_quarantined(self) -> None:
        """
        Register quarantined files that have no record, for example after Redis lost its data. Otherwise they would stay
        in the quarantine for ever, and use its space.

        Only files in the base directory. The other roots, such as the system's temp directory, also belong to volumes
        that we do not know, whose records may be in another Redis.
        """
        lost = [
            file
            for file in self.deleter.quarantined_files()
            if self.roots.find(file.aside_path) is self.roots.base
        ]
        if lost and (lost := self._without_record(self.registry, lost)):
            for registry in self._neighbours():
                lost = self._without_record(registry, lost)
        files = [new for file in lost if (new := self.deleter.as_new_file(file)) is not None]
        if not files:
            return
        try:
            self.registry.register(files)
        except RegistryFull as exc:
            # The clean-up goes on.
            logger.warning("%d quarantined files have no record yet: %s", len(files), exc)
        else:
            logger.info("Registered %d quarantined files that had no record", len(files))

    def _without_record(self, registry: Registry, files: Sequence[QuarantinedFile]) -> list[QuarantinedFile]:
        """
        Returns the files that have no record in *registry*, neither under the path in the quarantine nor under the path
        before. While a file is being quarantined its record is still under the path before. That path is read first,
        because its record disappears when the other one appears.
        """
        _, before = registry.read([file.path for file in files])
        _, now = registry.read([file.aside_path for file in files])
        return [
            file
            for file, old_record, record in zip(files, before, now, strict=True)
            if record is None and (old_record is None or self._is_of_another(old_record, file))
        ]

    def _is_of_another(self, record: FileRecord, file: QuarantinedFile) -> bool:
        new = self.deleter.as_new_file(file)
        return new is not None and stands_for_another(record, new)

    def _neighbours(self) -> Iterator[Registry]:
        """
        The registries of other volumes that may have quarantined files here: volumes of this host, and volumes of hosts
        that had this disk before.
        """
        fleet, ours = Fleet(self.registry.store), self.registry.volume
        for volume in fleet.volumes():
            if volume != ours and (volume.host == ours.host or volume.base_dir == ours.base_dir):
                yield fleet.registry(volume)
