"""Child processes that cannot outlive this one, however it ends; see child.py for how."""

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
    ``python -m MODULE ARGUMENTS``, started, in a session of its own: a Ctrl-C on the terminal is for the parent,
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
            # -P: the directory that the user happens to be in may hold a celery.py.
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
        """Ask it to end in order."""
        if self.is_running():
            self.process.terminate()

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self.is_running():
            self.process.kill()
        self.process.wait()

    def ending(self) -> str:
        """How it ended, in words."""
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
                except BrokenPipeError:  # what was written last is of no use to the dead
                    pass


class Interrupts:
    """
    Has Ctrl-C, a polite kill and a closed terminal raise KeyboardInterrupt, but never at a moment that is held back.

    Not by blocking the signals: a child started meanwhile would inherit that.
    """

    def __init__(self) -> None:
        self._holding = 0
        self._pending = False
        self._previous: dict[signal.Signals, Any] = {}

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """What comes meanwhile is raised at the end."""
        self.hold_back()
        try:
            yield
        finally:
            self._holding -= 1
        if self._pending and not self._holding:
            self._pending = False
            raise KeyboardInterrupt

    def hold_back(self) -> None:
        """For good: nothing is raised any more."""
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
    """End them in order and together; those that had to be killed are returned."""
    ending = list(children)
    for child in ending:
        child.terminate()
    deadline = time.monotonic() + within_seconds
    late = []
    for child in ending:
        try:
            child.process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            child.kill()
            late.append(child)
    return late
