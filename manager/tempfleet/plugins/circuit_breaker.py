"""
A stranger's code, called so that it can do no harm: on a thread of its own, for so long, and no more after it has
failed too often (a circuit breaker).

Python cannot end a thread, so a call that hangs goes on behind our back. Until it has returned nothing is called
again: a plug-in never has more threads than calls that were under way when the first of them hung. Not contained is
what no thread can contain: code that ends the process, or C code that keeps the interpreter's lock. Then the process
is gone, or stands still, and its leases run out.

Nothing here takes a lock: a signal handler may clean up on top of a clean-up.
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
"""In a row, and it is switched off."""

COOL_DOWN_SECONDS = 60.0
"""Then it is tried again, once. As long as a worker's own timer: the next clean-up finds what was mended."""

SIGNAL_SECONDS = 0.05
"""How often the waiting thread looks up, so that signal handlers run and leases are extended."""

LONGEST_SAID = 200
"""Characters of a stranger's error that are kept."""

T = TypeVar("T")


def nothing() -> None:
    """What is done while one waits, where there is nothing to do."""


class CircuitBreaker:
    """
    One thing that a plug-in does, as *name*; usable from any thread, and in several at once.

    Args:
        seconds: how long a call may take.
        clock: seconds that only grow.

    Attributes:
        said: the last failure in a few words, "" when it is well.
        answered: whether a call has ever come to a good end.
    """

    def __init__(self, name: str, *, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.seconds = seconds
        self.said = ""
        self.answered = False
        self._clock = clock
        self._failures = 0
        self._failed_at = 0.0
        self._hung: list[tuple[int, SignalSafeCall]] = []

    @property
    def is_off(self) -> bool:
        """Whether it has failed so often that it is only tried now and then."""
        return self._failures >= FAILURES

    def call(self, work: Callable[[], T], *, meanwhile: Callable[[], object] = nothing) -> T:
        """
        What *work* returns; *meanwhile* is called now and then by the waiting thread.

        Raises:
            PluginFailed: it raised, has not returned within its time (it may still run, and its answer is not
                waited for), hangs since earlier, or is switched off.
        """
        if self.is_off and self._clock() < self._failed_at + COOL_DOWN_SECONDS:
            said = f"plug-in {self.name} is switched off: {self.said}"
            raise PluginFailed(said, plugin=self.name, is_off=True, counts=False)
        if self._hangs():
            raise self._failed("an earlier call has not returned")
        answers: list[T] = []
        words: list[str] = []

        def run() -> None:
            try:
                answers.append(work())
            except BaseException as exc:
                # Formatted on this thread, because a plug-in's __str__ may raise or hang.
                words.append(f"{type(exc).__name__}: {exc}")
                raise

        hand = SignalSafeCall(run)
        try:
            hand.start(apart=True)
            in_time = self._wait(hand, meanwhile)
        finally:
            hand.call_off()
            if not hand.wait(0):  # also where a signal handler has raised
                self._hung.append((os.getpid(), hand))
        if not in_time:
            raise self._failed(f"it did not return within {duration(self.seconds)}")
        if hand.failure is not None or not answers:
            raise self._failed(words[0] if words else type(hand.failure).__name__, hand.failure)
        self.mend()
        return answers[0]

    def _wait(self, hand: SignalSafeCall, meanwhile: Callable[[], object]) -> bool:
        end = self._clock() + self.seconds
        while not hand.wait(SIGNAL_SECONDS):
            meanwhile()
            if self._clock() >= end:
                return False
        return True

    def _hangs(self) -> bool:
        """A forked child has none of its parent's threads."""
        self._hung = [(pid, hand) for pid, hand in self._hung if pid == os.getpid() and not hand.wait(0)]
        return bool(self._hung)

    def _failed(self, said: str, exc: BaseException | None = None) -> PluginFailed:
        self.said = printable(said)[:LONGEST_SAID]
        self._failures += 1
        self._failed_at = self._clock()
        off = (
            f"; it is switched off, and tried again every {duration(COOL_DOWN_SECONDS)}"
            if self.is_off
            else ""
        )
        logger.error("Plug-in %s failed: %s%s", self.name, self.said, off, exc_info=exc)
        return PluginFailed(f"plug-in {self.name} failed: {self.said}", plugin=self.name, is_off=self.is_off)

    def mend(self) -> None:
        """It is well: whatever failed before is forgiven."""
        if self.is_off:
            logger.info("Plug-in %s works again", self.name)
        self._failures, self.said, self.answered = 0, "", True
