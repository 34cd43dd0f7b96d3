"""
Reports files close to expiry to plug-ins, the log and the caller of ``announce``.

A file is near its expiry when 80 % of its time to live is over (the rule of the specification). Each file is announced
at least once for each registration. Another process, or a restart, announces it again, because only memory holds what
was announced. The number of files that are read and remembered is bounded: the files of a volume that fall due first. A
later file is announced when it comes among them.
"""

from __future__ import annotations

from ..logs import logger, printable
from ..records import NEAR_EXPIRY, FileRecord
from ..registry import Registry
from ..settings import LONGEST_TTL_SECONDS, MAX_BATCH
from .hooks import Hooks

MOST_READ = 10_000
"""Files of a volume: reading them takes 0.3 s of a processor, and remembering them about 3 MB."""

Life = tuple[int, int]
"""When a file was registered, and its deadline; a renewal changes them."""


class Announcer:
    """Announces the files of one volume that are near their expiry. Raises as Registry does."""

    def __init__(self, registry: Registry, hooks: Hooks) -> None:
        self.registry = registry
        self.hooks = hooks
        self._announced: dict[str, Life] = {}

    def announce(self) -> int:
        """
        Announce the files that came near their expiry since the last call; returns their number.

        If a plug-in failed to accept files, they are announced again, to all plug-ins.
        """
        now_ms = self.registry.now_ms()
        horizon_ms = round((1 - NEAR_EXPIRY) * LONGEST_TTL_SECONDS * 1000)
        records = self.registry.due_within(within_ms=horizon_ms, limit=MOST_READ)
        near = {record.path: record for record in records if record.is_near_expiry(now_ms)}
        fresh = [record for record in near.values() if self._announced.get(record.path) != _life(record)]
        self._announced = {path: life for path, life in self._announced.items() if path in near}
        for start in range(0, len(fresh), MAX_BATCH):
            batch = fresh[start : start + MAX_BATCH]
            if self.hooks.notify_near_expiry(batch):
                self._announced |= {record.path: _life(record) for record in batch}
        if fresh:
            base_dir = printable(self.registry.volume.base_dir)
            logger.info("%d temporary files in %s are near their expiry", len(fresh), base_dir)
        self.hooks.publish()
        return len(fresh)


def _life(record: FileRecord) -> Life:
    return record.registered_ms, record.deadline_ms
