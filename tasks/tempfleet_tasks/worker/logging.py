"""
Logging of our own workers and beats. An app of somebody else's that installs the tasks keeps its own.

Celery's console obeys Celery's ``-l``; LOG_FILE is ours, from LOG_LEVEL on. LOG_FORMAT=json counts for both.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import signals

from tempfleet import Settings
from tempfleet.logs import JsonLine, configure


def log_as_set(settings: Settings) -> None:
    """Have this process, once Celery sets its logging up, log as *settings* say; those of the last app count."""

    def set_up(logger: logging.Logger, loglevel: int | None = None, **_kwargs: Any) -> None:
        for handler in logger.handlers:
            handler.setLevel(loglevel or logging.NOTSET)
            if settings.log_format == "json":
                handler.setFormatter(JsonLine())
        configure(level=settings.log_level, form=settings.log_format, file=settings.log_file)

    signals.after_setup_logger.connect(set_up, weak=False, dispatch_uid="tempfleet-logging")
