"""
What clean-ups that were cut off left in the private directories, once nothing else will ever look for it.

Mostly somebody does: the next claim of a file's record finds the file there. But the record may have gone to another
file of that name, or with Redis; then only the notes beside the files, and the files themselves, tell what they are.
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

LOOK_SECONDS = 3600.0
"""How often a process looks; the first time before its first batch."""


class InterruptedMoves:
    """Puts in order what is in the private directories of one volume."""

    def __init__(self, registry: Registry, roots: Roots, deleter: Deleter) -> None:
        self.registry = registry
        self.roots = roots
        self.deleter = deleter
        self._looks_at = 0.0

    def look(self, may_go_on: Callable[[], bool]) -> None:
        """At first, and now and then: what was moved there and not unlinked gets its name back, or goes."""
        if time.monotonic() < self._looks_at:
            return
        self._looks_at = time.monotonic() + LOOK_SECONDS
        left: list[Recovered] = []
        for found in self.deleter.recover():
            if found.back:
                logger.info("Gave %s its name back; its deletion was cut off", printable(found.path))
            elif found.left is not None:
                left.append(found)
        self._finish(left, may_go_on)
        self._register_lost_aside()

    def _finish(self, left: Sequence[Recovered], may_go_on: Callable[[], bool]) -> None:
        """
        Delete what was half deleted when the next file of that name was registered: its record went to that one, and
        it counts as replaced. No other claim will ever look for it.
        """
        _, records = self.registry.read([found.path for found in left])
        for found, record in zip(left, records, strict=True):
            if found.left is not None and record is not None and stands_for_another(record, found.left):
                for done in self.deleter.delete([found.left], token=found.token, may_go_on=may_go_on):
                    log(done)

    def _register_lost_aside(self) -> None:
        """
        What is in quarantine and in no record, as after Redis lost its data: else it would be there for ever, and take
        its room. Only in the base directory: the other roots, like the system's temp directory, are also those of
        volumes that we know nothing of, whose records are in another Redis perhaps.
        """
        lost = [
            aside
            for aside in self.deleter.quarantined_files()
            if self.roots.find(aside.aside_path) is self.roots.base
        ]
        if lost and (lost := self._unknown_to(self.registry, lost)):
            for registry in self._neighbours():
                lost = self._unknown_to(registry, lost)
        files = [new for aside in lost if (new := self.deleter.as_new_file(aside)) is not None]
        if not files:
            return
        try:
            self.registry.register(files)
        except RegistryFull as exc:  # and cleaning goes on
            logger.warning("%d files in quarantine are in no record yet: %s", len(files), exc)
        else:
            logger.info("Registered %d files anew that were found in quarantine", len(files))

    def _unknown_to(self, registry: Registry, found: Sequence[QuarantinedFile]) -> list[QuarantinedFile]:
        """
        Those that *registry* has no record of. That of the path which a file had may be its own still, on its way
        there; it is looked at first, as it leaves when the other one comes.
        """
        _, before = registry.read([aside.path for aside in found])
        _, now = registry.read([aside.aside_path for aside in found])
        return [
            aside
            for aside, was, known in zip(found, before, now, strict=True)
            if known is None and (was is None or self._is_of_another(was, aside))
        ]

    def _is_of_another(self, record: FileRecord, aside: QuarantinedFile) -> bool:
        new = self.deleter.as_new_file(aside)
        return new is not None and stands_for_another(record, new)

    def _neighbours(self) -> Iterator[Registry]:
        """Who may have set a file aside here too: this host's other volumes, and whose disk this was before."""
        fleet, ours = Fleet(self.registry.store), self.registry.volume
        for volume in fleet.volumes():
            if volume != ours and (volume.host == ours.host or volume.base_dir == ours.base_dir):
                yield fleet.registry(volume)
