"""
One call on a thread of its own.

Not a ThreadPoolExecutor, and not a threading.Thread: both take locks of the whole process while they start, and a
signal handler that cleans up on top of a clean-up (``signal.signal(SIGTERM, lambda *_: manager.clear_all())``)
would wait for ever for a lock that its own thread holds. ``_thread`` has none. And an exception that a handler
raises (Celery's soft time limit) at whatever point of ``start`` or ``wait`` leaves it usable: ``call_off`` tells work
that never begins from work to wait for, and the latch is never held.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable


class SignalSafeCall:
    """``start`` *work*, ``wait`` for it, then ask for its ``failure``."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.failure: BaseException | None = None
        self._work = work
        self._ended = False
        self._begun = _thread.allocate_lock()
        self._latch = _thread.allocate_lock()
        self._latch.acquire()

    def start(self, *, apart: bool = False) -> None:
        """
        Calls the work.

        Args:
            apart: on a thread of its own or not at all: where there is none to be had, that is the failure.
        """
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError as exc:
            # The interpreter is ending and starts no more threads, so the calling thread does the work.
            if not apart:
                self._run()
                return
            self.failure, self._ended = exc, True

    def call_off(self) -> None:
        """Work that has not begun never will, and nobody waits for it."""
        if self._begun.acquire(blocking=False):
            self._ended = True

    def wait(self, timeout: float = -1) -> bool:
        """Whether the work has ended; at most *timeout* seconds from now, without one when it has."""
        return self._ended or self._latch.acquire(timeout=timeout)

    def _run(self) -> None:
        if not self._begun.acquire(blocking=False):
            return
        try:
            self._work()
        except BaseException as exc:  # noqa: BLE001 - whoever waits raises it
            self.failure = exc
        finally:
            self._ended = True
            self._latch.release()
