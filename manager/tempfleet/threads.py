"""
One call on a thread of its own.

Not a ThreadPoolExecutor, and not a threading.Thread: both take locks of the whole process while they start, and a
signal handler that cleans up on top of a clean-up (``signal.signal(SIGTERM, lambda *_: manager.clear_all())``)
would wait for ever for a lock that its own thread holds. ``_thread`` has none. And an exception that a handler
raises (Celery's soft time limit) at whatever point of ``wait`` leaves it usable: the latch is never held.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable


class SignalSafeCall:
    """
    Calls *work* at once; ``wait`` for it, then ask for its ``failure``.

    Args:
        apart: on a thread of its own or not at all: where there is none to be had, that is the failure.
    """

    def __init__(self, work: Callable[[], object], *, apart: bool = False) -> None:
        self.failure: BaseException | None = None
        self._work = work
        self._ended = False
        self._latch = _thread.allocate_lock()
        self._latch.acquire()
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError as exc:
            # The interpreter is ending and starts no more threads, so the calling thread does the work.
            if not apart:
                self._run()
                return
            self.failure, self._ended = exc, True

    def wait(self, timeout: float = -1) -> bool:
        """Whether the work has ended; at most *timeout* seconds from now, without one when it has."""
        return self._ended or self._latch.acquire(timeout=timeout)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as exc:  # noqa: BLE001 - whoever waits raises it
            self.failure = exc
        finally:
            self._ended = True
            self._latch.release()
