"""
Calls on file systems that may not answer.

If the server of a network or FUSE file system has stopped, a call on it does not return, and nothing can end its
thread. So such a call runs on a thread of its own, and its caller waits for a limited time. While a call has not
returned, the file system counts as *not answering*, and no other call is begun on it. So only those calls hang that ran
when its server stopped. When they return, the file system answers again.

Calls on local file systems are made directly, because a thread costs more than most of them. Only looks at all roots,
and deletions, which have threads of their own anyway, are bounded there too.

Nothing here holds a lock while it waits. The interpreter does not wait for these threads at its end.
"""

from __future__ import annotations

import _thread
import os
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ..errors import VolumeUnavailable
from ..logs import logger, printable
from ..threads import SignalSafeCall

NOT_ANSWERING = "not answering"
"""The reason of everything that is unavailable because of this."""

ANSWER_SECONDS = 5.0
"""How long a call waits that needs the file system. A disk that spins up is a local one, so it is waited for."""

LOOK_SECONDS = 2.0
"""How long a call waits that only looks whether the file system answers."""

WAKE_SECONDS = 0.05
"""How often a waiting main thread wakes up, so that Python runs its signal handlers."""

FIRST_SILENCE_SECONDS, LONGEST_SILENCE_SECONDS = 60.0, 3600.0
"""A file system that stops and goes on again and again is logged less and less often."""

T = TypeVar("T")


def do_nothing() -> None:
    """The default for work to do while a call runs."""


class Pending(Generic[T]):
    """A call on a thread of its own. If nobody waits for its result any more, *discard* gets it."""

    def __init__(self, work: Callable[[], T], discard: Callable[[T], object] | None) -> None:
        self._work, self._discard = work, discard
        self._results: list[T] = []
        self._decided = _thread.allocate_lock()
        self.call = SignalSafeCall(self._run)

    def has_ended(self, seconds: float, meanwhile: Callable[[], object] = do_nothing) -> bool:
        """Wait at most *seconds* for the end of the call."""
        end = time.monotonic() + seconds
        while not self.call.wait(WAKE_SECONDS):
            meanwhile()
            if time.monotonic() >= end:
                return False
        return True

    def abandon(self) -> bool:
        """Returns False if the result has come just now."""
        return self._decided.acquire(blocking=False)

    def result(self) -> T:
        """Returns the result of a call that has ended, or raises its error."""
        self.call.wait()
        if self.call.failure is not None:
            raise self.call.failure
        return self._results[0]

    def _run(self) -> None:
        result = self._work()
        self._results.append(result)
        if not self._decided.acquire(blocking=False) and self._discard is not None:
            self._discard(result)


class Bounded:
    """
    The calls on the file system of *path*. Thread-safe, and usable after a fork and in signal handlers.

    Attributes:
        may_hang: it has a server that may stop. If False, calls are made directly.
    """

    def __init__(self, path: str, *, may_hang: bool = True) -> None:
        self.path = path
        self.may_hang = may_hang
        self._out: list[tuple[int, SignalSafeCall]] = []
        self._silent_until = float("-inf")
        self._silence_seconds = FIRST_SILENCE_SECONDS

    def hangs(self) -> bool:
        """Whether a call has not returned. A forked child has none of the threads of its parent."""
        if not self._out:
            return False
        pid = os.getpid()
        self._out = [(owner, call) for owner, call in self._out if owner == pid and not call.wait(0)]
        if not self._out:
            logger.info("%s answers again", printable(self.path))
        return bool(self._out)

    def ask(
        self,
        work: Callable[[], T],
        *,
        seconds: float = ANSWER_SECONDS,
        discard: Callable[[T], object] | None = None,
    ) -> T:
        """
        Returns the result of *work*, a call that usually takes no time.

        Args:
            discard: gets a result that comes too late, for example to close a descriptor.

        Raises:
            VolumeUnavailable: it did not return within *seconds*, or an earlier call has not returned yet.
        """
        if not self.may_hang and not self._out:
            return work()
        return self.finish(self.begin(work, discard), seconds)

    def run(self, work: Callable[[], T], discard: Callable[[T], object] | None = None) -> T:
        """As ``ask``, for work that may take long: it is waited for as long as the file system answers."""
        if not self.may_hang and not self._out:
            return work()
        pending = self.begin(work, discard)
        while not pending.has_ended(LOOK_SECONDS):
            if not self.answers():
                return self._leave(pending)
        return pending.result()

    def begin(self, work: Callable[[], T], discard: Callable[[T], object] | None = None) -> Pending[T]:
        """Begin *work* on a thread of its own; raises as ``ask`` does if an earlier call has not returned."""
        if self.hangs():
            raise self.error()
        pending = Pending(work, discard)
        pending.call.start()
        return pending

    def finish(self, pending: Pending[T], seconds: float) -> T:
        """Returns the result of *pending*; raises as ``ask`` does."""
        return pending.result() if pending.has_ended(seconds) else self._leave(pending)

    def answers(self) -> bool:
        """Look at the file system itself. Its server answers this, not a cache of the kernel."""
        try:
            self.finish(self.begin(lambda: os.statvfs(self.path)), LOOK_SECONDS)
        except VolumeUnavailable:
            return False
        except OSError:
            pass
        return True

    def leave(self, call: SignalSafeCall) -> None:
        """Do not wait for *call* any longer. Until it returns, the file system does not answer."""
        now = time.monotonic()
        if not self._out and now >= self._silent_until:
            logger.warning("%s. %s", self.error(), "This is logged once")
            self._silent_until = now + self._silence_seconds
            self._silence_seconds = min(2 * self._silence_seconds, LONGEST_SILENCE_SECONDS)
        self._out = [*self._out, (os.getpid(), call)]

    def error(self) -> VolumeUnavailable:
        return VolumeUnavailable(
            f"{printable(self.path)} is unavailable ({NOT_ANSWERING}): the server of its file system has stopped, or "
            "its disk hangs. Its files wait, and are tried again by themselves. Start that server, or mount it again",
            base_dir=self.path,
            reason=NOT_ANSWERING,
        )

    def _leave(self, pending: Pending[T]) -> T:
        if not pending.abandon():
            return pending.result()
        self.leave(pending.call)
        raise self.error()


_BY_PATH: dict[str, Bounded] = {}


def bounded_at(path: str) -> Bounded:
    """The one of *path* in this process, so that one manager need not find out what another one knows."""
    return _BY_PATH.setdefault(path, Bounded(path))


def bounded_above(path: str) -> Bounded | None:
    """The one of the nearest directory above *path* that may hang; None if no such directory was opened."""
    above = [
        calls
        for calls in list(_BY_PATH.values())
        if calls.may_hang and f"{path}/".startswith(f"{calls.path}/")
    ]
    return max(above, key=lambda calls: len(calls.path), default=None)
