"""
Who wants to know is told of files that are near their end: plug-ins, the log, and whoever calls ``announce``.

A file is near its end when it has lived 80 % of its time (the specification's rule). Each is announced at least once
for each registration: again by another process, or after a restart, because only memory knows what was announced. What
is remembered, and looked at, is bounded: the files of a volume that fall due first. A file behind these is announced
when it comes among them.
"""

from __future__ import annotations

from ..logs import logger, printable
from ..records import NEAR_EXPIRY, FileRecord
from ..registry import Registry
from ..settings import LONGEST_TTL_SECONDS, MAX_BATCH
from .hooks import Hooks

LOOKED_AT = 10_000
"""Files of a volume: 0.3 s of a processor for each look, and about 3 MB that are remembered."""

Promise = tuple[int, int]
"""When a file was registered, and until when: what a renewal changes."""


class Announcer:
    """Announces the files of one volume. Its methods raise as Registry's do."""

    def __init__(self, registry: Registry, hooks: Hooks) -> None:
        self.registry = registry
        self.hooks = hooks
        self._announced: dict[str, Promise] = {}

    def announce(self) -> int:
        """
        Announce what has come near its end since the last call; how many files that were.

        What a listener failed to take is announced again, to all of them.
        """
        now_ms = self.registry.now_ms()
        horizon_ms = round((1 - NEAR_EXPIRY) * LONGEST_TTL_SECONDS * 1000)
        first = self.registry.due_within(within_ms=horizon_ms, limit=LOOKED_AT)
        near = {record.path: record for record in first if record.is_near_expiry(now_ms)}
        fresh = [record for record in near.values() if self._announced.get(record.path) != _promise(record)]
        self._announced = {path: promise for path, promise in self._announced.items() if path in near}
        for start in range(0, len(fresh), MAX_BATCH):
            batch = fresh[start : start + MAX_BATCH]
            if self.hooks.near_expiry(batch):
                self._announced |= {record.path: _promise(record) for record in batch}
        if fresh:
            base_dir = printable(self.registry.volume.base_dir)
            logger.info("%d temporary files in %s are near their expiry", len(fresh), base_dir)
        self.hooks.publish()
        return len(fresh)


def _promise(record: FileRecord) -> Promise:
    return record.registered_ms, record.deadline_ms
