"""
Tempfleet's tasks for Celery.

    celery -A tempfleet_tasks worker    runs our own app, with the settings of the environment
    tempfleet_tasks.install(app)        adds the same tasks to any app

    app         install and make_app: tasks, queues that a worker reads, schedule, events
    binding     makes Celery tasks of plain functions, and counts refused messages
    refusals    counts messages that are thrown away
    messages    what each message does, and how it is checked
    routing     the names of the queues
    runtime     what one process has: the manager and the volumes of its host
    worker      what a worker gets: the timer, the web pages, remote control, logging
    console     the commands worker, beat, up; the programs that they start
    demo        ``tempfleet demo``
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from tempfleet import SettingsError

from .app import install, make_app

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["install", "make_app"]


@cache
def _default_app() -> Celery:
    return make_app()


def __getattr__(name: str) -> Any:
    """``celery -A tempfleet_tasks`` reads the attribute ``celery``; the app is built then, not at import."""
    if name == "celery":
        try:
            return _default_app()
        except SettingsError as exc:
            raise SystemExit(f"tempfleet: {exc}") from None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
