"""
``manager.files``: the registry as a dictionary of path -> registration time.

Nothing is stored here: every read asks the registry, and every change is one script. Iterating reads page by page,
about a thousand records in one round trip. Files that others delete meanwhile raise no KeyError.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, ItemsView, Iterator, Mapping, MutableMapping, ValuesView
from contextlib import suppress
from functools import partial
from typing import Any

from ..cleanup import Cleaner, may_be_in_creation
from ..errors import AlreadyClaimed
from ..filesystem import normalise
from ..logs import logger
from ..records import Outcome
from ..registry import Registry

RegisterAged = Callable[[str, float], object]
Unregister = Callable[[str], object]

RAISE: Any = object()
"""Stands for a default that was not given."""


class Files(MutableMapping[str, float]):
    """
    The registered files, live.

    ``files[path]`` is the time of registration (seconds since the epoch, Redis clock). ``del files[path]`` unregisters
    the file and leaves it on disk. ``files[path] = time`` registers it as if that had happened at *time*. While other
    processes register and clean up, an iteration may return a path twice. It returns every path that is registered
    throughout. ``items()`` and ``values()`` get the times with the paths; ``dict(files.items())`` is a copy. (Python
    makes ``dict(files)`` of single reads: it costs a round trip a file, and a file that goes meanwhile is a KeyError.)
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
        # Use the clock that makes the file younger: time.time() of this host, or the Redis clock of files[path].
        now = min(time.time(), self._registry.now_ms() / 1000)
        self._register_aged(path, max(now - registered, 0.0))

    def __delitem__(self, path: str) -> None:
        absolute = normalise(path)
        # An interrupted deletion may have moved the file; then it gets its name back.
        is_gone = self._cleaner.roots.run_at(absolute, partial(_is_gone, absolute))
        if not is_gone or self._cleaner.deleter.is_moved(absolute):
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

    def items(self) -> ItemsView[str, float]:
        return Items(self)

    def values(self) -> ValuesView[float]:
        return Values(self)

    def pop(self, path: str, default: Any = RAISE) -> Any:
        try:
            registered = self[path]
            del self[path]
        except KeyError:
            if default is RAISE:
                raise
            return default
        return registered

    def popitem(self) -> tuple[str, float]:
        for path, registered in self.items():
            try:
                del self[path]
            except KeyError:
                continue
            return path, registered
        raise KeyError("no file is registered")

    def clear(self) -> None:
        for path in self:
            with suppress(KeyError):
                del self[path]

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
        Drop the records of files that are neither in *wanted* nor on disk. ``manager.files = wanted`` calls this.

        Returns the number of dropped records. If a file exists, or cannot be checked, its record stays: without the
        record the file would leak.

        Raises:
            VolumeUnavailable: the disk is not available; nothing was dropped.
        """
        if isinstance(wanted, Files) and wanted._registry is self._registry:
            return 0
        self._cleaner.check_volume()
        names = {normalise(path) for path in wanted}
        dropped = 0
        with self._cleaner.deleter.preview() as look:
            for page in self._registry.paths():
                now_ms, records = self._registry.read([path for path in page if path not in names])
                gone = [
                    record.path
                    for record in records
                    if record is not None
                    and not may_be_in_creation(record, now_ms)
                    and look(record).outcome is Outcome.MISSING
                ]
                codes = self._registry.unregister(gone, total="missing", until_ms=now_ms)
                dropped += sum(code == "released" for code in codes.values())
        if dropped:
            logger.info("Dropped %d records of files that no longer exist", dropped)
        return dropped


class Items(ItemsView[str, float]):
    """Reads paths and times together."""

    _mapping: Files

    def __iter__(self) -> Iterator[tuple[str, float]]:
        for page in self._mapping._registry.registrations():
            for path, registered_ms in page.items():
                yield path, registered_ms / 1000


class Values(ValuesView[float]):
    """As Items."""

    _mapping: Files

    def __iter__(self) -> Iterator[float]:
        return (registered for _, registered in self._mapping.items())

    def __contains__(self, value: object) -> bool:
        return any(registered == value for registered in self)


def _is_gone(path: str) -> bool:
    """Returns False if that cannot be checked."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
