"""
Commands for running workers, through Celery's own remote control.

    celery -A tempfleet_tasks inspect tempfleet_stats     every worker shows the volumes of its host
    celery -A tempfleet_tasks control tempfleet_sweep     every worker sweeps now

Celery keeps these commands for all apps of a process. A worker of an app without Tempfleet answers with an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker.control import control_command, inspect_command

from tempfleet import TempfleetError

from ..messages import Answer, sweep
from ..runtime import Runtime


@inspect_command()  # type: ignore[untyped-decorator]
def tempfleet_stats(state: Any, **_kwargs: Any) -> Answer:
    """Show the files of this worker's host, by volume."""
    return _answer(state, _stats)


@control_command()  # type: ignore[untyped-decorator]
def tempfleet_sweep(state: Any, **_kwargs: Any) -> Answer:
    """Sweep now: recover dead claims and wake hosts with due files."""
    return _answer(state, sweep)


def _stats(runtime: Runtime) -> Answer:
    stats = runtime.fleet.stats(runtime.own_volumes())
    return {str(volume): counts.as_dict() for volume, counts in stats.items()}


def _answer(state: Any, command: Callable[[Runtime], Answer]) -> Answer:
    runtime_of = getattr(state.app, "tempfleet", None)
    if runtime_of is None:
        return {"error": "this worker's app has no Tempfleet; see tempfleet_tasks.install"}
    try:
        result = command(runtime_of())
    except TempfleetError as exc:
        return {"error": str(exc)}
    return {"ok": result}
