"""
Runs plug-in code on its own thread with a time limit, and stops calling it after repeated failures (circuit breaker).

Python cannot end a thread, so a call that hangs goes on running. Until it returns, the function is not called again. So
it never has more threads than the calls that were running when the first of them hung. A thread cannot contain code
that ends the process, or C code that keeps the interpreter lock. Then the process is gone, or stands still, and its
leases run out.

Nothing here takes a lock, because a signal handler may start a clean-up inside a clean-up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import PluginFailed
from ..formatting import duration
from ..logs import logger, printable
from ..threads import SignalSafeCall

FAILURES = 3
"""After so many failures in a row the code is switched off."""

COOL_DOWN_SECONDS = 60.0
"""Then one call is tried again. As long as the timer of a worker, so the next clean-up notices a repaired plug-in."""

SIGNAL_SECONDS = 0.05
"""How often the waiting thread wakes up, so that signal handlers run and leases are extended."""

LONGEST_MESSAGE = 200
"""Characters of a plug-in's error that are kept."""

T = TypeVar("T")


def do_nothing() -> None:
    """The default for work to do while a call runs."""


class CircuitBreaker:
    """
    One function of a plug-in, called *name*; usable from any thread, and from several at once.

    Args:
        seconds: how long a call may take.
        clock: a clock in seconds that never goes back.

    Attributes:
        last_failure: the last error in a few words, "" if the last call succeeded.
        has_succeeded: whether any call has ever succeeded.
    """

    def __init__(self, name: str, *, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.seconds = seconds
        self.last_failure = ""
        self.has_succeeded = False
        self._clock = clock
        self._failures = 0
        self._failed_at = 0.0
        self._hung: list[tuple[int, SignalSafeCall]] = []

    @property
    def is_off(self) -> bool:
        """Whether it failed so often that it is called only once in COOL_DOWN_SECONDS."""
        return self._failures >= FAILURES

    def call(self, work: Callable[[], T], *, meanwhile: Callable[[], object] = do_nothing) -> T:
        """
        Returns the result of *work*. The waiting thread calls *meanwhile* again and again.

        Raises:
            PluginFailed: *work* raised, did not return in time (it may still run, and its result is dropped), hangs
                since an earlier call, or is switched off.
        """
        if self.is_off and self._clock() < self._failed_at + COOL_DOWN_SECONDS:
            message = f"plug-in {self.name} is switched off: {self.last_failure}"
            raise PluginFailed(message, plugin=self.name, is_off=True, counts=False)
        if self._hangs():
            raise self._record_failure("an earlier call has not returned")
        results: list[T] = []
        messages: list[str] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as exc:
                # Formatted on this thread, because a plug-in's __str__ may raise or hang.
                messages.append(f"{type(exc).__name__}: {exc}")
                raise

        call = SignalSafeCall(run)
        call.start(apart=True)
        try:
            in_time = self._wait(call, meanwhile)
        finally:
            # Also if a signal handler has raised.
            if not call.wait(0):
                self._hung.append((os.getpid(), call))
        if not in_time:
            raise self._record_failure(f"it did not return within {duration(self.seconds)}")
        if call.failure is not None or not results:
            raise self._record_failure(messages[0] if messages else type(call.failure).__name__, call.failure)
        self.reset()
        return results[0]

    def reset(self) -> None:
        """Forget the failures, because a call succeeded."""
        if self.is_off:
            logger.info("Plug-in %s works again", self.name)
        self._failures, self.last_failure, self.has_succeeded = 0, "", True

    # -- inside

    def _wait(self, call: SignalSafeCall, meanwhile: Callable[[], object]) -> bool:
        end = self._clock() + self.seconds
        while not call.wait(SIGNAL_SECONDS):
            meanwhile()
            if self._clock() >= end:
                return False
        return True

    def _hangs(self) -> bool:
        """Whether a call still runs. A forked child has none of the threads of its parent."""
        self._hung = [(pid, call) for pid, call in self._hung if pid == os.getpid() and not call.wait(0)]
        return bool(self._hung)

    def _record_failure(self, message: str, exc: BaseException | None = None) -> PluginFailed:
        self.last_failure = printable(message)[:LONGEST_MESSAGE]
        self._failures += 1
        self._failed_at = self._clock()
        off = (
            f"; it is switched off, and tried again every {duration(COOL_DOWN_SECONDS)}"
            if self.is_off
            else ""
        )
        logger.error("Plug-in %s failed: %s%s", self.name, self.last_failure, off, exc_info=exc)
        return PluginFailed(
            f"plug-in {self.name} failed: {self.last_failure}", plugin=self.name, is_off=self.is_off
        )
