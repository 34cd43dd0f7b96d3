"""
What runs in a worker beside its tasks: the heartbeat of its host, a timer of its own that cleans; one that tells of
files near their end and, where that is asked for, one that compresses. These are apart from the others, so that who
listens slowly, or a large file, keeps nobody from cleaning.

All are threads of the worker's main process, started after any fork. They need neither broker nor consumer loop, so
a dead beat or a dead broker only delays.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

from celery import bootsteps

from tempfleet import RegistryFull, SettingsError, TempfleetError, Volume, VolumeUnavailable
from tempfleet.capacity import is_watched
from tempfleet.logs import logger, printable
from tempfleet.monitoring import WebServer

from ..runtime import Runtime, RuntimeOf
from .web import serve_pages

NEAR_EXPIRY = "tempfleet-near-expiry"
"""Celery's event: host, base_dir, and how many ``files`` of it have come near their end."""

WRONG_SETTING = 2
"""The exit status of a worker that cannot start with its settings; the console's for the same."""


class Ticker:
    """Calls *work* now and then every *seconds*, with jitter, in a thread, until stopped."""

    def __init__(self, name: str, seconds: float, work: Callable[[threading.Event], None]) -> None:
        self.seconds = seconds
        self.work = work
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"tempfleet-{name}", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self, *, within_seconds: float) -> None:
        """Let the current call end; it is told to by the event that it was given."""
        self.stopping.set()
        self.thread.join(within_seconds)

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                self.work(self.stopping)
            except TempfleetError as exc:
                logger.warning("%s: %s", self.thread.name, exc)
            except Exception:  # noqa: BLE001 - the thread must outlive a surprise, or the host falls silent
                logger.exception("%s failed; it goes on", self.thread.name)
            self.stopping.wait(self.seconds * random.uniform(0.9, 1.1))


class HostStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Makes a worker serve its host."""

    requires = ("celery.worker.components:Pool",)
    # steps_for sets it on a subclass for one app.
    runtime_of: RuntimeOf

    def __init__(self, worker: Any, **_kwargs: Any) -> None:
        self.tickers: list[Ticker] = []

    def start(self, worker: Any) -> None:
        runtime = self.runtime_of()
        settings = runtime.settings
        try:
            roots = runtime.manager.roots  # asks the disk and the plug-ins: a root or a policy may be refused
        except SettingsError as exc:
            logger.critical("%s", exc)
            raise SystemExit(WRONG_SETTING) from None
        if why := roots.no_rights():
            logger.error(
                "Nothing can be deleted in %s: %s; run this worker as its owner",
                printable(roots.base.path),
                why,
            )
        self.tickers = [
            Ticker("heartbeat", settings.heartbeat_seconds, lambda _stop: beat(runtime)),
            Ticker("timer", settings.timer_interval_seconds, lambda stop: clean_host(runtime, stop)),
            Ticker(
                "announcer", settings.timer_interval_seconds, lambda stop: announce(runtime, worker, stop)
            ),
        ]
        if settings.compress_after_seconds:
            every = settings.cleanup_interval_seconds
            self.tickers.append(Ticker("compression", every, lambda stop: compress_host(runtime, stop)))
        for ticker in self.tickers:
            ticker.start()

    def stop(self, worker: Any) -> None:
        for ticker in self.tickers:
            ticker.stop(within_seconds=10)
        self.tickers = []

    terminate = stop


class WebStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Serves the pages of a worker from its main process, after HostStep."""

    # As in HostStep.
    runtime_of: RuntimeOf

    def __init__(self, worker: Any, **_kwargs: Any) -> None:
        self.server: WebServer | None = None

    def include_if(self, worker: Any) -> bool:
        return self.runtime_of.settings.metrics

    def start(self, worker: Any) -> None:
        self.server = serve_pages(self.runtime_of(), worker)

    def stop(self, worker: Any) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None

    terminate = stop


def steps_for(runtime_of: RuntimeOf) -> tuple[type, type]:
    """Returns the steps of one app's workers; Celery creates a step with no argument of ours, so the class has it."""
    host_step = type("TempfleetHost", (HostStep,), {"runtime_of": runtime_of})
    web_step = type("TempfleetWeb", (WebStep,), {"runtime_of": runtime_of, "requires": (host_step,)})
    return host_step, web_step


def beat(runtime: Runtime) -> None:
    """Say that this host is alive, and which volume is its own."""
    runtime.fleet.heartbeat(runtime.host)
    try:
        runtime.fleet.announce(runtime.manager.volume)
    except RegistryFull:
        pass  # it adds, unlike the heartbeat; and a volume is announced with its first registration anyway


def clean_host(runtime: Runtime, stop: threading.Event) -> None:
    """
    One pass over every volume of this host, then one that makes room on disks that are too full still: no file goes
    before its time while one that is due is there. A volume that is not available harms no other, and nothing harms
    the pass but a registry that does not answer.
    """
    try:
        runtime.manager.verify_unverified()
    except TempfleetError as exc:
        # The disk is not there or the registry is full. The next pass tries again.
        logger.warning("Could not look at what was recorded from afar: %s", exc)
    volumes = runtime.own_volumes()
    _in_each(volumes, stop, lambda volume: runtime.clean(volume, stop=stop), "clean")
    if is_watched(runtime.settings):
        _in_each(volumes, stop, lambda volume: runtime.evict(volume, stop=stop), "make room in")


def _in_each(
    volumes: Sequence[Volume], stop: threading.Event, work: Callable[[Volume], object], what: str
) -> None:
    for volume in volumes:
        if stop.is_set():
            return
        try:
            work(volume)
        except TempfleetError as exc:
            logger.warning("Could not %s %s: %s", what, volume, exc)


def announce(runtime: Runtime, worker: Any, stop: threading.Event) -> None:
    """
    Tell plug-ins, the log and Celery's events of files near their end, volume by volume.

    The event goes with those of the worker's tasks, where it sends them (``-E``; our own app does). It is not repeated
    where it is lost.
    """
    for volume in runtime.own_volumes():
        if stop.is_set():
            return
        try:
            files = runtime.local_volume(volume).announcer.announce()
        except VolumeUnavailable:
            continue  # which the timer that cleans has told
        except TempfleetError as exc:
            logger.warning("Could not tell of files near their end in %s: %s", volume, exc)
            continue
        dispatcher = getattr(getattr(worker, "consumer", None), "event_dispatcher", None)
        if files and dispatcher is not None:
            base_dir = printable(volume.base_dir)
            dispatcher.send(NEAR_EXPIRY, host=printable(volume.host), base_dir=base_dir, files=files)


def compress_host(runtime: Runtime, stop: threading.Event) -> None:
    """As ``clean_host``, compressing what is idle."""
    for volume in runtime.own_volumes():
        if stop.is_set():
            return
        try:
            local = runtime.local_volume(volume)
            local.check()
            budget_seconds = runtime.settings.timeout_seconds
            local.compressor.compress_idle(budget_seconds=budget_seconds, stop=stop)
        except VolumeUnavailable:
            continue  # which the timer that cleans has told
        except TempfleetError as exc:
            logger.warning("Could not compress in %s: %s", volume, exc)
