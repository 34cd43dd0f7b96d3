"""
What clean-ups that were cut off left in the private directories, once nothing else will ever look for it.

Mostly somebody does: the next claim of a file's record finds the file there. But the record may have gone to another
file of that name, or with Redis; then only the notes beside the files, and the files themselves, tell what they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .deletion import Deleter, Recovered, stands_for_another
from .logs import logger, printable
from .registry import Registry
from .report import log

LOOK_SECONDS = 3600.0
"""How often a process looks; the first time before its first batch."""


class Aftermath:
    """Puts in order what is in the private directories of one volume."""

    def __init__(self, registry: Registry, deleter: Deleter) -> None:
        self.registry = registry
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
        _, records = self.registry.look([found.path for found in left])
        for found, record in zip(left, records, strict=True):
            if found.left is not None and record is not None and stands_for_another(record, found.left):
                for done in self.deleter.delete([found.left], token=found.token, may_go_on=may_go_on):
                    log(done)

    def _register_lost_aside(self) -> None:
        """
        What is in quarantine and in no record, as after Redis lost its data: else it would be there for ever, and take
        its room. A record of the path that it had may be its own still, on its way there.
        """
        found = list(self.deleter.all_aside())
        _, records = self.registry.look([aside.aside_path for aside in found])
        lost = [aside for aside, record in zip(found, records, strict=True) if record is None]
        _, records = self.registry.look([aside.path for aside in lost])
        files = [
            new
            for aside, record in zip(lost, records, strict=True)
            if (new := self.deleter.as_new(aside)) is not None
            and (record is None or stands_for_another(record, new))
        ]
        if files:
            self.registry.register(files)
            logger.info("Registered %d files anew that were found in quarantine", len(files))
