"""
What the tasks of one app need in one process, built at first use and never at import.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from celery import Celery

from tempfleet import RegistryFull, Settings, TempFileManager, Volume, VolumeUnavailable
from tempfleet.capacity import EvictionReport, Evictor
from tempfleet.cleanup import Cleaner, CleanupReport
from tempfleet.compression import Compressor
from tempfleet.logs import logger, printable
from tempfleet.plugins import Announcer
from tempfleet.registry import NOT_SERVED, Fleet


class Runtime:
    """One process's tools. Building it touches neither Redis nor the disk; using its parts does."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.lock = threading.RLock()
        self._busy: set[Volume] = set()
        self._cleaners: dict[Volume, Cleaner] = {}
        self._announcers: dict[Volume, Announcer] = {}
        self._refusals: dict[Volume, str] = {}
        self._evictors: dict[Volume, Evictor] = {}
        self._compressors: dict[Volume, Compressor] = {}

    @cached_property
    def manager(self) -> TempFileManager:
        """Our own volume: the settings' base directory on the settings' host."""
        with self.lock:
            return TempFileManager(settings=self.settings.of_a_tool())

    @cached_property
    def fleet(self) -> Fleet:
        return Fleet(self.manager.store, live_seconds=self.settings.host_live_seconds)

    @property
    def host(self) -> str:
        return self.settings.host

    def clean(self, volume: Volume, *, stop: threading.Event | None = None) -> CleanupReport | None:
        """
        One pass over what is due in *volume*, within the settings' time budget. None when another thread of this
        process is at it already.

        Raises:
            VolumeUnavailable: it is not ours, or its directory is not here.
        """
        with self._alone(volume) as alone:
            if not alone:
                return None
            try:
                cleaner = self.cleaner(volume)
                cleaner.prepare()
                report = cleaner.clean_due(budget_seconds=self.settings.timeout_seconds, stop=stop)
            except VolumeUnavailable as exc:
                self._note_refusal(volume, exc.reason)
                raise
            self._note_refusal(volume, "")
            return report

    def evict(self, volume: Volume, *, stop: threading.Event | None = None) -> EvictionReport | None:
        """
        Make room where the disk of *volume* is too full; None where it is not, where the last time was in vain, when
        another thread of this process is busy with the volume, and where it is unavailable, which ``clean`` tells.
        """
        with self._alone(volume) as alone:
            try:
                return self.evictor(volume).watch(stop=stop) if alone else None
            except VolumeUnavailable:
                return None

    def evictor(self, volume: Volume) -> Evictor:
        """What makes room in a volume of this host; it remembers when that was in vain."""
        if volume == self.manager.volume:
            return self.manager.evictor
        with self.lock:
            if volume not in self._evictors:
                self._evictors[volume] = self.manager.evictor_for(self.cleaner(volume))
            return self._evictors[volume]

    def cleaner(self, volume: Volume) -> Cleaner:
        """
        The engine for a volume of this host: our own, or one whose base directory lies inside our roots (another
        manager of this host made it).
        """
        if volume == self.manager.volume:
            _ = self.manager.registry
            return self.manager.cleaner
        with self.lock:
            if volume not in self._cleaners:
                self._cleaners[volume] = self._other(volume)
            return self._cleaners[volume]

    def announcer(self, volume: Volume) -> Announcer:
        """What tells of files near their end in a volume of this host; it remembers what it told."""
        cleaner = self.cleaner(volume)
        with self.lock:
            if volume not in self._announcers:
                self._announcers[volume] = Announcer(cleaner.registry, cleaner.hooks)
            return self._announcers[volume]

    def compressor(self, volume: Volume) -> Compressor:
        """What compresses idle files in a volume of this host; it remembers how far it came."""
        cleaner = self.cleaner(volume)
        with self.lock:
            if volume not in self._compressors:
                self._compressors[volume] = Compressor(cleaner.registry, cleaner.roots, cleaner.settings)
            return self._compressors[volume]

    def own_volumes(self) -> list[Volume]:
        """The volumes of this host, ours first, whether we can serve them or not."""
        ours = self.manager.volume
        return [ours, *(volume for volume in self.fleet.volumes(host=self.host) if volume != ours)]

    def _note_refusal(self, volume: Volume, reason: str) -> None:
        """Tell those who ask from elsewhere (health, hosts), when it changes."""
        if self._refusals.get(volume) == reason or volume.host != self.host:
            return
        try:
            self.fleet.registry(volume).set_meta(NOT_SERVED, reason)
            self._refusals[volume] = reason
        except RegistryFull:
            pass  # the next pass tells it; what the caller is told now is the reason itself

    def _other(self, volume: Volume) -> Cleaner:
        if volume.host != self.host:
            raise VolumeUnavailable(
                f"What is {volume.in_words} belongs there; this is host {printable(self.host)}."
            )
        roots = self.manager.roots
        is_root = volume.base_dir in (root.path for root in roots)
        if os.path.realpath(volume.base_dir) != volume.base_dir or not (
            is_root or roots.find(volume.base_dir)
        ):
            raise VolumeUnavailable(
                f"{printable(volume.base_dir)} lies outside this worker's roots; add it to TEMP_FILE_ALLOWED_ROOTS "
                "to have it cleaned here.",
                base_dir=volume.base_dir,
                reason="outside-roots",
            )
        return self.manager.cleaner_for(volume.base_dir)

    @contextmanager
    def _alone(self, volume: Volume) -> Iterator[bool]:
        with self.lock:
            alone = volume not in self._busy
            self._busy.add(volume)
        try:
            yield alone
        finally:
            if alone:
                with self.lock:
                    self._busy.discard(volume)


class RuntimeOf:
    """Gives an app's runtime in whatever process it is asked; a forked child gets one of its own."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self._built: tuple[int, Runtime] | None = None

    def __call__(self) -> Runtime:
        built = self._built
        if built is None or built[0] != os.getpid():
            built = self._built = (os.getpid(), Runtime(self.app, self.settings))
            logger.debug("Runtime of %s built in process %d", self.app.main, os.getpid())
        return built[1]
