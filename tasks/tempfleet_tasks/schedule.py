"""
The beat timetable.
"""

from __future__ import annotations

from celery import Celery
from celery.app.task import Task

from tempfleet import Settings

ENTRY = "tempfleet.sweep"


def add_to(app: Celery, settings: Settings, sweep: Task) -> None:
    """Have *app*'s beat send a sweep every interval; each expires when the next one is due."""
    interval = settings.cleanup_interval_seconds
    app.add_periodic_task(interval, sweep.s(), name=ENTRY, expires=interval)
