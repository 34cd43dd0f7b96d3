"""
Deleting at the end of a process, for who asked for it: at exit, and on SIGTERM.

A handler of the application's keeps its place and runs after us; where there is none, the process ends by SIGTERM as
it would have. A signal that the application ignores, or handles in C, is left alone. kill -9 leaves no time for
anything: then the deadlines do the work, as always.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any


def at_end(owner: object, clear: Callable[[Any], object]) -> None:
    """Call *clear(owner)* when the process ends, unless *owner* is gone before; nothing keeps it alive."""
    known = weakref.ref(owner)

    def end() -> None:
        if (living := known()) is not None:
            clear(living)

    atexit.register(end)
    weakref.finalize(owner, atexit.unregister, end).atexit = False
    if threading.current_thread() is threading.main_thread():
        _on_sigterm(end)


def _on_sigterm(end: Callable[[], None]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    if before is None or before is signal.SIG_IGN:
        return

    def handle(number: int, frame: FrameType | None) -> None:
        end()
        if callable(before):
            before(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, handle)
