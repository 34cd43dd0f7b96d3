"""
One call on its own thread, safe to use in signal handlers.

ThreadPoolExecutor and threading.Thread take process-wide locks while they start. A signal handler that cleans up during
a clean-up (``signal.signal(SIGTERM, lambda *_: manager.clear_all())``) would wait for ever for a lock that its own
thread holds. ``_thread`` takes no such lock. A handler may also raise an exception at any point of ``start`` or
``wait`` (Celery's soft time limit does). The call stays usable, because the latch is never held, and ``call_off``
separates work that will never begin from work that must be waited for.
"""

from __future__ import annotations

import _thread
import sys
from collections.abc import Callable


class SignalSafeCall:
    """``start`` *work*, then ``wait``. After that, ``failure`` is the exception that it raised, or None."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.failure: BaseException | None = None
        self._work = work
        self._ended = False
        self._begun = _thread.allocate_lock()
        self._latch = _thread.allocate_lock()
        self._latch.acquire()

    def start(self, *, apart: bool = False) -> None:
        """
        Start the work on its own thread.

        Args:
            apart: never run the work on the calling thread. If no thread can start, ``failure`` is that error.
        """
        try:
            if sys.is_finalizing():
                # Python 3.11 starts a thread now, too, but the thread never runs.
                raise RuntimeError("the interpreter is ending")
            _thread.start_new_thread(self.run, ())
        except RuntimeError as exc:
            # The interpreter starts no more threads, so the calling thread does the work.
            if not apart:
                self.run()
                return
            self.failure, self._ended = exc, True

    def call_off(self) -> None:
        """Work that has not begun yet never begins, and ``wait`` returns at once."""
        if self._begun.acquire(blocking=False):
            self._ended = True

    def wait(self, timeout: float = -1) -> bool:
        """Wait at most *timeout* seconds, by default without limit. Returns whether the work has ended."""
        return self._ended or self._latch.acquire(timeout=timeout)

    def run(self) -> None:
        """Do the work on the calling thread, unless it has begun or was called off."""
        if not self._begun.acquire(blocking=False):
            return
        try:
            self._work()
        except BaseException as exc:  # noqa: BLE001 - the waiting thread raises it
            self.failure = exc
        finally:
            self._ended = True
            self._latch.release()
