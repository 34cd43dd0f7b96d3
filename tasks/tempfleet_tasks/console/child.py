"""
``python -m tempfleet_tasks.console.child worker|beat [CELERY OPTIONS]``: a worker or beat that ends with its parent.

Its standard input is a pipe, and only the parent has the other end. When the parent ends, also by SIGKILL, the kernel
closes that end. This works on every system and needs no process id.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from tempfleet import Settings, TempfleetError

from .node import run_beat, run_worker

PATIENCE_SECONDS = 15.0
"""Time for an orderly end; more than Celery's soft shutdown of 10 s."""


def end_with_parent() -> None:
    """End this process when standard input is closed: in order, or by force after PATIENCE_SECONDS."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        timer = threading.Timer(PATIENCE_SECONDS, os._exit, (1,))
        timer.daemon = True
        timer.start()

    threading.Thread(target=watch, name="tempfleet-parent", daemon=True).start()


def main() -> int:
    kind, *extra = sys.argv[1:]
    end_with_parent()
    run = {"worker": run_worker, "beat": run_beat}[kind]
    try:
        return run(Settings.load(), quiet=True, extra=extra)
    except TempfleetError as exc:
        print(f"tempfleet {kind}: {exc}", file=sys.stderr, flush=True)
        return 3


if __name__ == "__main__":
    sys.exit(main())
