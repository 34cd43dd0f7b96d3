"""
Logging of our own workers and beats. Another app that installs the tasks keeps its own logging.

Celery's option ``-l`` sets the level on the console. LOG_FILE is written by us, from LOG_LEVEL on. LOG_FORMAT=json
applies to both.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import signals

from tempfleet import Settings
from tempfleet.logs import JsonLine, configure


def log_as_set(settings: Settings) -> None:
    """Configure this process's logs by *settings* when Celery sets up its own; the last app's settings count."""

    def set_up(logger: logging.Logger, loglevel: int | None = None, **_kwargs: Any) -> None:
        for handler in logger.handlers:
            handler.setLevel(loglevel or logging.NOTSET)
            if settings.log_format == "json":
                handler.setFormatter(JsonLine())
        configure(level=settings.log_level, form=settings.log_format, file=settings.log_file)

    signals.after_setup_logger.connect(set_up, weak=False, dispatch_uid="tempfleet-logging")
