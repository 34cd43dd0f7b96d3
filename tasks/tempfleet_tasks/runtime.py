"""
The manager, the fleet and the volumes that the tasks of one app share in one process; built at first use.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from celery import Celery

from tempfleet import (
    CleanupReport,
    EvictionReport,
    RegistryFull,
    Settings,
    TempFileManager,
    Volume,
    VolumeUnavailable,
)
from tempfleet.filesystem import resolved_if_possible
from tempfleet.logs import Trouble, logger, printable
from tempfleet.manager import LocalVolume
from tempfleet.registry import NOT_SERVED, Fleet

from .refusals import Refusals


class Runtime:
    """One process's manager, fleet and volumes. Building it uses neither Redis nor the disk; its parts do."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.lock = threading.RLock()
        self.trouble = Trouble()
        self._busy: set[Volume] = set()
        self._volumes: dict[Volume, LocalVolume] = {}
        self.refusals = Refusals(lambda: self.manager.registry, lambda: self.fleet)
        self._not_served: dict[Volume, str] = {}

    @cached_property
    def manager(self) -> TempFileManager:
        """The manager of our own volume: the settings' base directory on the settings' host."""
        with self.lock:
            return TempFileManager(settings=self.settings.of_a_tool())

    @cached_property
    def fleet(self) -> Fleet:
        return Fleet(self.manager.store, live_seconds=self.settings.host_live_seconds)

    @property
    def host(self) -> str:
        return self.settings.host

    def local_volume(self, volume: Volume) -> LocalVolume:
        """
        Returns a volume of this host with its engines: our own, or one below our roots, which another manager made.

        Raises:
            VolumeUnavailable: it belongs to another host, lies outside our roots, or its directory does not exist or
                does not answer.
        """
        if volume == self.manager.volume:
            return self.manager.local_volume
        local = self._volumes.get(volume)
        if local is None:
            # Without the lock, because a disk may be slow to answer, and other volumes must not wait for it.
            self._check_place(volume)
            opened = self.manager.local_volume.beside(volume.base_dir)
            with self.lock:
                local = self._volumes.setdefault(volume, opened)
            if local is not opened:
                opened.close()
        return local

    def own_volumes(self) -> list[Volume]:
        """The volumes of this host, ours first, also those that we cannot serve."""
        ours = self.manager.volume
        return [ours, *(volume for volume in self.fleet.volumes(host=self.host) if volume != ours)]

    def clean(self, volume: Volume, *, stop: threading.Event | None = None) -> CleanupReport | None:
        """
        Delete the expired files of *volume*, within the time budget of the settings. Returns None if another thread of
        this process is cleaning the volume.

        Raises:
            VolumeUnavailable: as ``local_volume``, or its base directory is not available.
        """
        with self._alone(volume) as alone:
            if not alone:
                return None
            try:
                cleaner = self.local_volume(volume).cleaner
                cleaner.prepare()
                report = cleaner.clean_due(budget_seconds=self.settings.timeout_seconds, stop=stop)
            except VolumeUnavailable as exc:
                self._record_refusal(volume, exc.reason)
                raise
            self._record_refusal(volume, "")
            return report

    def evict(self, volume: Volume, *, stop: threading.Event | None = None) -> EvictionReport | None:
        """
        Evict files of *volume* if its disk is too full.

        Returns None if nothing was tried: the disk has room, the last pass freed nothing, another thread of this
        process works on the volume, or the volume is unavailable, which ``clean`` reports.
        """
        with self._alone(volume) as alone:
            try:
                return self.local_volume(volume).evictor.watch(stop=stop) if alone else None
            except VolumeUnavailable:
                return None

    def _record_refusal(self, volume: Volume, reason: str) -> None:
        """Record a changed reason in the registry, so that health and hosts show it in other processes."""
        if self._not_served.get(volume) == reason or volume.host != self.host:
            return
        try:
            self.fleet.registry(volume).set_meta(NOT_SERVED, reason)
            self._not_served[volume] = reason
        except RegistryFull:
            pass  # the next pass tries again; our caller gets the reason itself

    def _check_place(self, volume: Volume) -> None:
        if volume.host != self.host:
            raise VolumeUnavailable(
                f"Files {volume.in_words} are cleaned by the workers of that host; this is {printable(self.host)}."
            )
        roots = self.manager.roots
        roots.take_up()
        if reason := roots.is_unavailable(f"{volume.base_dir}/"):
            raise VolumeUnavailable(
                f"The root of {printable(volume.base_dir)} is unavailable ({reason}).",
                base_dir=volume.base_dir,
                reason=reason,
            )
        is_root = volume.base_dir in (root.path for root in roots)
        is_below_root = is_root or roots.find(volume.base_dir)
        if resolved_if_possible(volume.base_dir) != volume.base_dir or not is_below_root:
            raise VolumeUnavailable(
                f"{printable(volume.base_dir)} is outside this worker's roots; to clean it here, add it to "
                "TEMP_FILE_ALLOWED_ROOTS.",
                base_dir=volume.base_dir,
                reason="outside-roots",
            )

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
    """Returns the app's runtime of the current process; a forked child gets one of its own."""

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
