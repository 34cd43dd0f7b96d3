"""
What runs in a worker beside its tasks: the heartbeat of its host, a timer that cleans, and a timer that announces
files near their deadline. Another one watches the connection to the broker; if compression is on, one more compresses.
Each is a thread of its own, so a slow plug-in or a large file does not delay cleaning.

The threads belong to the worker's main process and start after any fork. They need neither the broker nor the consumer
loop, so a dead beat or a dead broker only delays deletions.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

from celery import bootsteps

from tempfleet import RegistryFull, SettingsError, TempfleetError, Volume, VolumeUnavailable
from tempfleet.capacity import is_watched
from tempfleet.logs import Trouble, logger, printable
from tempfleet.monitoring import WebServer

from ..runtime import Runtime, RuntimeOf
from .discards import DiscardStep
from .logging import WRONG_SETTING
from .transport import leave_silent
from .web import serve_pages

NEAR_EXPIRY = "tempfleet-near-expiry"
"""A Celery event: host, base_dir, and the number of ``files`` that came near their deadline."""


NO_BASE_DIR = 1
"""The exit status of a worker whose base directory does not answer. Its supervisor starts it again."""


BROKER_CHECK_SECONDS = 5.0


class Ticker:
    """Calls *work* at once and then every *seconds*, with jitter, in a thread, until stopped."""

    def __init__(self, name: str, seconds: float, work: Callable[[threading.Event], None]) -> None:
        self.seconds = seconds
        self.work = work
        self.stopping = threading.Event()
        self.trouble = Trouble()
        self.thread = threading.Thread(target=self._run, name=f"tempfleet-{name}", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self, *, within_seconds: float) -> None:
        """Wait for the current call; its event is set, so that it ends early."""
        self.stopping.set()
        self.thread.join(within_seconds)

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                self.work(self.stopping)
                self.trouble.works(self.thread.name)
            except TempfleetError as exc:
                self.trouble.failed(self.thread.name, exc)
            except Exception:  # noqa: BLE001 - if the thread ended, the host would fall silent
                logger.exception("%s failed; it continues", self.thread.name)
            self.stopping.wait(self.seconds * random.uniform(0.9, 1.1))


def broker_watch() -> Ticker:
    """Returns a thread that leaves a silent broker. A worker runs it, and a beat."""
    return Ticker("broker", BROKER_CHECK_SECONDS, lambda _stop: leave_silent())


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
            # Opens the roots and loads the plug-ins; a root or a policy may be refused.
            roots = runtime.manager.roots
        except SettingsError as exc:
            logger.critical("%s", exc)
            raise SystemExit(WRONG_SETTING) from None
        except VolumeUnavailable as exc:
            logger.critical("%s", exc)
            raise SystemExit(NO_BASE_DIR) from None
        if reason := roots.no_rights():
            base_dir = printable(roots.base.path)
            logger.error("Nothing can be deleted in %s: %s; run this worker as its owner", base_dir, reason)
        self.tickers = [
            Ticker("heartbeat", settings.heartbeat_seconds, lambda _stop: beat(runtime)),
            Ticker("timer", settings.timer_interval_seconds, lambda stop: clean_host(runtime, stop)),
            Ticker(
                "announcer", settings.timer_interval_seconds, lambda stop: announce(runtime, worker, stop)
            ),
            broker_watch(),
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
    """Returns the steps of one app's workers. They are new classes, because Celery passes them no arguments of ours."""
    host_step = type("TempfleetHost", (HostStep,), {"runtime_of": runtime_of})
    web_step = type("TempfleetWeb", (WebStep,), {"runtime_of": runtime_of, "requires": (host_step,)})
    return host_step, web_step


def consumer_step_for(runtime_of: RuntimeOf) -> type:
    """As steps_for, for the part of a worker that receives messages."""
    return type("TempfleetDiscards", (DiscardStep,), {"runtime_of": runtime_of})


def beat(runtime: Runtime) -> None:
    """Announce this host's own volume, record that it is live, and compare Redis's clock with this host's."""
    period_seconds = runtime.settings.host_ephemeral_seconds
    try:
        # First: of a worker that dies in between, a host would be left that is not ephemeral.
        runtime.fleet.announce(runtime.manager.volume, ephemeral_seconds=period_seconds)
    except RegistryFull:
        # Unlike the heartbeat, an announcement needs memory. The first registration announces the volume anyway.
        pass
    runtime.fleet.heartbeat(runtime.host)
    runtime.refusals.flush()
    runtime.manager.local_volume.unchecked_cleaner.clock.check()


def clean_host(runtime: Runtime, stop: threading.Event) -> None:
    """
    Clean every volume of this host; then evict files from disks that are still too full. So no file is evicted while
    expired files are left. An unavailable volume does not stop the pass; only a registry that does not answer does.
    """
    verifying = "Could not verify files that were registered while this host was silent"
    try:
        runtime.manager.verify_unverified()
        runtime.trouble.works(verifying)
    except TempfleetError as exc:
        # The disk is not there, or the registry is full. The next pass tries again.
        runtime.trouble.failed(verifying, exc)
    volumes = runtime.own_volumes()
    _in_each(runtime, volumes, stop, lambda volume: runtime.clean(volume, stop=stop), "clean")
    if is_watched(runtime.settings):
        _in_each(runtime, volumes, stop, lambda volume: runtime.evict(volume, stop=stop), "evict files from")


def _in_each(
    runtime: Runtime,
    volumes: Sequence[Volume],
    stop: threading.Event,
    work: Callable[[Volume], object],
    verb: str,
) -> None:
    for volume in volumes:
        if stop.is_set():
            return
        what = f"Could not {verb} {volume}"
        try:
            work(volume)
            runtime.trouble.works(what)
        except TempfleetError as exc:
            runtime.trouble.failed(what, exc)


def announce(runtime: Runtime, worker: Any, stop: threading.Event) -> None:
    """
    Announce files near their deadline to plug-ins, the log and Celery's events, volume by volume.

    The worker sends the event if it sends events of its tasks (``-E``; our own app does). A lost event is not repeated.
    """
    for volume in runtime.own_volumes():
        if stop.is_set():
            return
        what = f"Could not announce files near their deadline in {volume}"
        try:
            files = runtime.local_volume(volume).announcer.announce()
            runtime.trouble.works(what)
        except VolumeUnavailable:
            # clean_host has logged it.
            continue
        except TempfleetError as exc:
            runtime.trouble.failed(what, exc)
            continue
        dispatcher = getattr(getattr(worker, "consumer", None), "event_dispatcher", None)
        if files and dispatcher is not None:
            base_dir = printable(volume.base_dir)
            dispatcher.send(NEAR_EXPIRY, host=printable(volume.host), base_dir=base_dir, files=files)


def compress_host(runtime: Runtime, stop: threading.Event) -> None:
    """Compress the idle files of every volume of this host."""
    for volume in runtime.own_volumes():
        if stop.is_set():
            return
        what = f"Could not compress files in {volume}"
        try:
            local = runtime.local_volume(volume)
            local.check()
            budget_seconds = runtime.settings.timeout_seconds
            local.compressor.compress_idle(budget_seconds=budget_seconds, stop=stop)
            runtime.trouble.works(what)
        except VolumeUnavailable:
            # clean_host has logged it.
            continue
        except TempfleetError as exc:
            runtime.trouble.failed(what, exc)
