"""
Delete files when a process ends (TEMP_FILE_CLEAR_ON_SHUTDOWN).

    normal ends      sys.exit, an exception, the end of the program, also of a forked child: atexit
    child processes  of multiprocessing and concurrent.futures skip atexit: they run multiprocessing's finalizers
    prefork          Celery's children end by os._exit, right after Celery's signal worker_process_shutdown
    signals          SIGTERM, SIGHUP, SIGINT and SIGQUIT, as far as they would end the process by their default action

A signal that the application handles, ignores, or handles in C is left alone: its handler decides whether and when the
process ends, and the files are in use until then. Python lets only the main thread handle signals, so a manager that
other threads alone made and use misses them.

A child that Celery ends alone is not the end of its worker, and later tasks may use its files: they stay until their
deadlines. Celery recycles it (worker_max_tasks_per_child), or ends it by a signal (a hard time limit, revoke, a smaller
pool; also a task that a cold shutdown cancels). The worker tells its children by shared memory that it shuts down, so
that they can tell such a signal from the end of the worker. A child whose worker made no manager before the fork does
not have that memory, and deletes its files.

All files stay after kill -9, os._exit and exec, which leave no time for anything, and if a handler of the application
ends the process by the default action of its signal, as uvicorn does. A ``with`` block in its lifespan function deletes
them there.

The files are deleted by new connections, not by those of their manager: that one may be closed, garbage-collected, or
in the middle of a call that the signal interrupted.
"""

from __future__ import annotations

import atexit
import itertools
import mmap
import os
import signal
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from types import FrameType
from typing import Any

import redis

from ..cleanup import Cause, HostClock
from ..errors import RegistryUnavailable
from ..filesystem import Roots
from ..formatting import counted
from ..logs import logger
from ..registry import Clock, Store
from ..settings import Settings
from .local_volume import LocalVolume
from .own_files import OwnFiles
from .redis_client import client_of

END_SECONDS = 20
"""The end of a process takes no longer for this. Files that are left then go at their deadlines."""

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)

RECYCLED = 0x9B
"""The exit status of a prefork child whose place a new one takes: billiard.pool.EX_RECYCLE."""


@dataclass(frozen=True)
class Place:
    """Where a manager's files are; equal for managers that work in the same way."""

    settings: Settings
    client: redis.Redis | None
    clock: Clock
    host_clock: HostClock | None

    @property
    def server(self) -> object:
        """What is the same for places with one registry server."""
        return self.client or self.settings.redis_url

    def delete(self, files: dict[str, int], *, budget_seconds: float) -> None:
        """Delete those of *files* (path -> ``registered_ms``) that nobody else registered, renewed or held."""
        roots = Roots.open(self.settings, create=False)
        client = client_of(self.settings, self.client)
        store = Store(client, namespace=self.settings.namespace, clock=self.clock)
        local = LocalVolume(self.settings, roots, store, host_clock=self.host_clock)
        try:
            budget = min(budget_seconds, self.settings.timeout_seconds)
            report = local.cleaner.clean_own(files, Cause.FORCED, budget_seconds=budget)
            if not report.finished:
                logger.warning("Not all files were deleted at the end: the time was over")
        finally:
            local.close(None if client is self.client else client.close)


class UntilEnd(OwnFiles):
    """The files that one manager registered. A forked child prepares for its own end when it registers one."""

    def add(self, path: str, registered_ms: int) -> None:
        super().add(path, registered_ms)
        _END.prepare()


class End:
    """The end of this process, and of each child that it forks."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        # Those of living managers, each with a number; and those of managers that were garbage-collected.
        self._owned: dict[int, tuple[Place, OwnFiles]] = {}
        self._gathered: dict[Place, OwnFiles] = {}
        # The process that is prepared for its end, for signals, and that is deleting now.
        self._prepared = self._handles = self._deletes = 0
        # One byte that a Celery worker shares with its children, 1 when it shuts down; and the worker's process.
        self._shared: mmap.mmap | None = None
        self._worker = 0

    def watch(self, owner: object, place: Place) -> OwnFiles:
        """Returns the list of files that *owner* fills. It is deleted at the end, also if *owner* is gone then."""
        own, number = UntilEnd(), next(self._numbers)
        self._owned[number] = place, own
        weakref.finalize(owner, self._gather, number).atexit = False
        self.prepare()
        return own

    def prepare(self) -> None:
        """Let the end of this process delete its files. Costs next to nothing if that is prepared already."""
        process = os.getpid()
        if self._prepared != process:
            self._prepared = process
            atexit.unregister(self.delete)
            atexit.register(self.delete)
            # Modules that the application has not imported cannot end this process.
            if (finalizers := sys.modules.get("multiprocessing.util")) is not None:
                finalizers.Finalize(None, self.delete, exitpriority=-100)
            if (celery := sys.modules.get("celery.signals")) is not None:
                ended, ends = celery.worker_process_shutdown, celery.worker_shutting_down
                ended.connect(self._end_of_pool_child, weak=False, dispatch_uid="tempfleet-end")
                if self._shared is None:
                    self._shared, self._worker = mmap.mmap(-1, 1), process
                    ends.connect(self._note_shutdown, weak=False, dispatch_uid="tempfleet-end")
        if self._handles != process and threading.current_thread() is threading.main_thread():
            self._handles = process
            for number in SIGNALS:
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, self._end_by_signal)

    def delete(self) -> None:
        """Delete the files that this process registered. An end does not fail, because the files expire."""
        process = os.getpid()
        if self._deletes == process:
            return
        self._deletes = process
        until = time.monotonic() + END_SECONDS
        # A registry that does not answer is waited for once, however many managers use it.
        away: set[object] = set()
        try:
            for place, own in [*self._owned.values(), *self._gathered.items()]:
                files = own.take()
                if files and place.server in away:
                    logger.warning(
                        "%s more stayed, because the registry is the same", counted(len(files), "file")
                    )
                elif files and not self._delete(place, files, until - time.monotonic()):
                    away.add(place.server)
        finally:
            self._deletes = 0

    @staticmethod
    def _delete(place: Place, files: dict[str, int], seconds: float) -> bool:
        """Returns False if the registry does not answer."""
        try:
            if seconds > 0:
                place.delete(files, budget_seconds=seconds)
            else:
                logger.warning("%d files were not deleted at the end: the time was over", len(files))
        except Exception as exc:  # noqa: BLE001 - the process ends as it would without us
            logger.warning("Not all files were deleted at the end: %s", exc)
            return not isinstance(exc, RegistryUnavailable)
        return True

    def _gather(self, number: int) -> None:
        place, own = self._owned.pop(number)
        if own:
            self._gathered.setdefault(place, UntilEnd()).update(own)

    def _note_shutdown(self, **_kwargs: Any) -> None:
        if self._shared is not None:
            self._shared[0] = 1

    def _ends_alone(self) -> bool:
        """Whether this is a child of a Celery pool whose worker goes on."""
        billiard = sys.modules.get("billiard.process")
        if billiard is None or self._shared is None or os.getpid() == self._worker:
            return False
        return "PoolWorker" in billiard.current_process().name and self._shared[0] == 0

    def _end_of_pool_child(self, exitcode: int | None = None, **_kwargs: Any) -> None:
        by_signal = exitcode is not None and exitcode < 0  # billiard's status of a signal
        if exitcode != RECYCLED and not (by_signal and self._ends_alone()):
            self.delete()

    def _end_by_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._deletes == os.getpid():
            return
        if not self._ends_alone():
            self.delete()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


_END = End()
watch = _END.watch
