"""
Logging of our own workers and beats. Another app that installs the tasks keeps its own logging.

Celery's option ``-l`` sets the level on the console. LOG_FILE is written by us, from LOG_LEVEL on. LOG_FORMAT=json
applies to both.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from celery import signals

from tempfleet import Settings, SettingsError
from tempfleet.logs import JsonLine, configure

WRONG_SETTING = 2
"""The exit status of a worker or beat that cannot start with its settings; the console uses the same."""


def log_as_set(settings: Settings) -> None:
    """
    Configure this process's logs by *settings* when Celery sets up its own; the last app's settings count. A worker or
    beat that cannot write its LOG_FILE ends with exit status 2.
    """
    main_process = os.getpid()

    def set_up(logger: logging.Logger, loglevel: int | None = None, **_kwargs: Any) -> None:
        for handler in logger.handlers:
            handler.setLevel(loglevel or logging.NOTSET)
            if settings.log_format == "json":
                handler.setFormatter(JsonLine())
        try:
            configure(level=settings.log_level, form=settings.log_format, file=settings.log_file)
        except SettingsError as exc:
            if os.getpid() != main_process:
                # A child of a worker whose log was writable at its start.
                logger.error("%s", exc)
                return
            print(f"Error: {exc}", file=sys.stderr)
            # Celery logs every other exception of a signal's receiver, and goes on.
            raise SystemExit(WRONG_SETTING) from None

    signals.after_setup_logger.connect(set_up, weak=False, dispatch_uid="tempfleet-logging")
