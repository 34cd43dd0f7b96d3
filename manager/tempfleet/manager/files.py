"""
``manager.files``: the registry seen as a dictionary of path -> registration time.

Nothing is kept here: each look goes to the registry, each change is one of its moves. Iterating reads page by page.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping

from ..cleanup import Cleaner, may_be_in_creation
from ..errors import AlreadyClaimed
from ..filesystem import normalise
from ..logs import logger
from ..records import Outcome
from ..registry import Registry

RegisterAged = Callable[[str, float], object]
Unregister = Callable[[str], object]


class Files(MutableMapping[str, float]):
    """
    The files under management, live.

    ``files[path]`` is when it was registered (seconds since the epoch, Redis clock). ``del files[path]`` takes it
    out of management and leaves the file where it is. ``files[path] = when`` registers it as if it had been then.
    While others register and clean, an iteration may show a path twice, and misses none that is there throughout.
    """

    def __init__(
        self, registry: Registry, cleaner: Cleaner, register_aged: RegisterAged, unregister: Unregister
    ) -> None:
        self._registry = registry
        self._cleaner = cleaner
        self._register_aged = register_aged
        self._unregister = unregister

    def __getitem__(self, path: str) -> float:
        _, (record,) = self._registry.read([normalise(path)])
        if record is None:
            raise KeyError(path)
        return record.registered_ms / 1000

    def __setitem__(self, path: str, registered: float) -> None:
        # By whichever clock makes it younger: time.time() of this host, or Redis's, which files[path] gives.
        now = min(time.time(), self._registry.now_ms() / 1000)
        self._register_aged(path, max(now - registered, 0.0))

    def __delitem__(self, path: str) -> None:
        absolute = normalise(path)
        if not _is_gone(absolute):
            self._unregister(absolute)
            return
        code = self._registry.unregister([absolute], total="missing")[absolute]
        if code == "absent":
            raise KeyError(path)
        if code == "claimed":
            raise AlreadyClaimed.of(absolute)

    def __iter__(self) -> Iterator[str]:
        for page in self._registry.paths():
            yield from page

    def __len__(self) -> int:
        return len(self._registry)

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        return self._registry.read([normalise(path)])[1][0] is not None

    def __repr__(self) -> str:
        return f"<{len(self)} temporary files {self._registry.volume.in_words}>"

    def keep_only(self, wanted: Mapping[str, object]) -> int:
        """
        What assigning ``manager.files = wanted`` means: drop the records of files that are neither in *wanted* nor
        on disk; how many. A record whose file is there, or cannot be seen, is never dropped: that would leak the file.

        Raises:
            VolumeUnavailable: the disk is not here; nothing was dropped.
        """
        if isinstance(wanted, Files) and wanted._registry is self._registry:
            return 0
        self._cleaner.check_volume()
        names = {normalise(path) for path in wanted}
        dropped = 0
        with self._cleaner.deleter.examining() as look:
            for page in self._registry.paths():
                now_ms, records = self._registry.read([path for path in page if path not in names])
                known = [record for record in records if record is not None]
                gone = [
                    record.path
                    for record in known
                    if not may_be_in_creation(record, now_ms) and look(record).outcome is Outcome.MISSING
                ]
                codes = self._registry.unregister(gone, total="missing", until_ms=now_ms)
                dropped += sum(code == "released" for code in codes.values())
        if dropped:
            logger.info("Dropped %d records of files that are not there any more", dropped)
        return dropped


def _is_gone(path: str) -> bool:
    """False where that cannot be seen."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
