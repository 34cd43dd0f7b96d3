"""
Logging, under the logger ``tempfleet``: one line per event, and no handler by default.

Only our own programs, the console and the worker, call ``configure``. An application that imports the library keeps its
own logging.

Strangers choose file names. A newline in a name could forge a log line; an escape sequence could control a terminal. So
every name passes ``printable`` before it is logged or shown.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler

from .errors import SettingsError
from .formatting import counted, duration, printable

__all__ = ["FORMATS", "TEXT_FORMAT", "JsonLine", "TextLine", "Trouble", "configure", "logger", "printable"]

TEXT_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
"""From the specification (8.4)."""

logger = logging.getLogger("tempfleet")
logger.addHandler(logging.NullHandler())


class Trouble:
    """
    Warnings of things that are tried again and again. The first failure is logged, then failures at intervals that
    double, from a minute to an hour, and one line when it works again. A failure of another kind is logged at once.
    """

    FIRST_SECONDS, MOST_SECONDS = 60.0, 3600.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # What fails -> since when, how often, the time of the next line and the interval after it, and its kind.
        # There is no lock: a fork would copy it while another thread holds it.
        self._troubles: dict[str, tuple[float, int, float, float, type]] = {}

    def failed(self, what: str, exc: Exception) -> None:
        now, unknown = self._clock(), (0.0, 0, 0.0, 0.0, type(None))
        since, count, next_line, interval, kind = self._troubles.get(what, unknown)
        if kind is not type(exc):
            self._troubles[what] = (now, 1, now + self.FIRST_SECONDS, self.FIRST_SECONDS, type(exc))
            logger.warning("%s: %s", what, exc)
        elif now < next_line:
            self._troubles[what] = (since, count + 1, next_line, interval, kind)
        else:
            interval = min(interval * 2, self.MOST_SECONDS)
            self._troubles[what] = (since, count + 1, now + interval, interval, kind)
            logger.warning("%s, %s in %s: %s", what, counted(count + 1, "time"), duration(now - since), exc)

    def works(self, what: str) -> None:
        if (trouble := self._troubles.pop(what, None)) is not None:
            since, count, *_ = trouble
            failures = counted(count, "failure")
            logger.warning(
                "%s: it works again after %s in %s", what, failures, duration(self._clock() - since)
            )


class TextLine(logging.Formatter):
    """One line per event, even with a traceback."""

    def __init__(self) -> None:
        super().__init__(TEXT_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in super().format(record))


class JsonLine(logging.Formatter):
    """One JSON object per event: time (UTC), level, logger, process, message, and a traceback, if any, as error."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["error"] = self.formatException(record.exc_info)
        return json.dumps(event)


FORMATS: dict[str, type[logging.Formatter]] = {"text": TextLine, "json": JsonLine}


def configure(*, level: str, form: str, file: str) -> Callable[[], None]:
    """
    Also log to *file*, from *level* on, one line per event. Returns a function that ends this.

    Another program may rotate the file: it is opened again when its name leads to another file. Several processes may
    share it. With an empty *file* nothing changes.

    Raises:
        SettingsError: the file cannot be written.
    """
    if not file:
        return lambda: None
    try:
        handler = WatchedFileHandler(file, encoding="utf-8", errors="backslashreplace")
    except OSError as exc:
        raise SettingsError(
            f"LOG_FILE={file!r}: cannot be written: {exc.strerror}", variable="LOG_FILE", value=file
        ) from None
    handler.setLevel(level)
    handler.setFormatter(FORMATS[form]())
    level_before = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(logging.getLevelNamesMapping()[level], logger.getEffectiveLevel()))

    def end() -> None:
        logger.setLevel(level_before)
        logger.removeHandler(handler)
        handler.close()

    return end
