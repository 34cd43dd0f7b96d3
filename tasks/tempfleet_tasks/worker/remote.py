"""
Commands that reach running workers through Celery's own remote control.

    celery -A tempfleet_tasks inspect tempfleet_stats     every worker's own volumes, as it sees them
    celery -A tempfleet_tasks control tempfleet_sweep     sweep now, on whoever gets it first and on all others

A worker whose app has no Tempfleet answers with an error, and nothing else happens there.
"""

from __future__ import annotations

from typing import Any

from celery.worker.control import control_command, inspect_command

from tempfleet import TempfleetError

from ..messages import Answer, sweep
from ..runtime import Runtime


@inspect_command()  # type: ignore[untyped-decorator]
def tempfleet_stats(state: Any, **_kwargs: Any) -> Answer:
    """Files of this worker's host, by volume."""
    return _answer(state, _stats)


@control_command()  # type: ignore[untyped-decorator]
def tempfleet_sweep(state: Any, **_kwargs: Any) -> Answer:
    """Sweep now: recover dead claims and wake hosts with due files."""
    return _answer(state, sweep)


def _stats(runtime: Runtime) -> Answer:
    stats = runtime.fleet.stats(runtime.own_volumes())
    return {str(volume): of.as_dict() for volume, of in stats.items()}


def _answer(state: Any, ask: Any) -> Answer:
    runtime_of = getattr(state.app, "tempfleet", None)
    if runtime_of is None:
        return {"error": "this worker's app has no Tempfleet; see tempfleet_tasks.install"}
    try:
        found: Answer = ask(runtime_of())
    except TempfleetError as exc:
        return {"error": str(exc)}
    return {"ok": found}
