"""
Delete files when the process ends: at exit, and on SIGTERM (TEMP_FILE_CLEAR_ON_SHUTDOWN).

A SIGTERM handler of the application runs after ours. If it has none, the process ends by SIGTERM as before. A signal
that the application ignores, or handles in C, is left alone. kill -9 leaves no time for this; then the files expire.
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
    """Call *clear(owner)* when the process ends, if *owner* still exists then. The reference to it is weak."""
    reference = weakref.ref(owner)

    def end() -> None:
        if (living := reference()) is not None:
            clear(living)

    atexit.register(end)
    weakref.finalize(owner, atexit.unregister, end).atexit = False
    if threading.current_thread() is threading.main_thread():
        _on_sigterm(end)


def _on_sigterm(end: Callable[[], None]) -> None:
    previous = signal.getsignal(signal.SIGTERM)
    if previous is None or previous is signal.SIG_IGN:
        return

    def handle(number: int, frame: FrameType | None) -> None:
        end()
        if callable(previous):
            previous(number, frame)
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, handle)
