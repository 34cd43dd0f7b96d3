"""Child processes that cannot outlive this one, however it ends; console/child.py explains how."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

CHILD = "tempfleet_tasks.console.child"


class Child:
    """
    Starts ``python -m MODULE ARGUMENTS`` in a session of its own: a Ctrl-C on the terminal reaches only the parent,
    which ends its children in order.
    """

    def __init__(
        self,
        *arguments: str,
        module: str = CHILD,
        env: Mapping[str, str],
        output: int | IO[bytes] | None = subprocess.PIPE,
        errors: int | IO[bytes] | None = subprocess.STDOUT,
    ) -> None:
        self.process = subprocess.Popen(
            # -P: the current directory may contain a celery.py.
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            env={**env, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def is_running(self) -> bool:
        return self.process.poll() is None

    def terminate(self) -> None:
        """Send SIGTERM, so that it ends in order."""
        if self.is_running():
            self.process.terminate()

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end."""
        if self.is_running():
            self.process.kill()
        self.process.wait()

    def ending(self) -> str:
        """Returns how it ended, for people."""
        code = self.process.returncode
        if code is None:
            return "is running"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with status {code}"

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    # The process has ended, so it does not need what was written last.
                    pass


class Interrupts:
    """
    Turns SIGINT, SIGTERM and SIGHUP into KeyboardInterrupt; inside ``held_back()`` it is delayed until the block ends.

    The signals are not blocked, because a child that is started meanwhile would inherit the blocking.
    """

    def __init__(self) -> None:
        self._holding = 0
        self._pending = False
        self._previous: dict[signal.Signals, Any] = {}

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Delay an interrupt until the end of the block."""
        self.hold_back()
        try:
            yield
        finally:
            self._holding -= 1
        if self._pending and not self._holding:
            self._pending = False
            raise KeyboardInterrupt

    def hold_back(self) -> None:
        """Raise no interrupt from now on."""
        self._holding += 1

    def __enter__(self) -> Interrupts:
        for number in ENDING_SIGNALS:
            self._previous[number] = signal.signal(number, self._signalled)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _signalled(self, _number: int, _frame: object) -> None:
        if self._holding:
            self._pending = True
        else:
            raise KeyboardInterrupt


def end_all(children: Iterable[Child], *, within_seconds: float) -> list[Child]:
    """Terminate all *children* at once. Returns those that did not end in time, and were killed."""
    children = list(children)
    for child in children:
        child.terminate()
    deadline = time.monotonic() + within_seconds
    late = []
    for child in children:
        try:
            child.process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            child.kill()
            late.append(child)
    return late
