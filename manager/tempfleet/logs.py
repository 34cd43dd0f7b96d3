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
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler

from .errors import SettingsError
from .formatting import printable

__all__ = ["FORMATS", "TEXT_FORMAT", "JsonLine", "TextLine", "configure", "logger", "printable"]

TEXT_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
"""From the specification (8.4)."""

logger = logging.getLogger("tempfleet")
logger.addHandler(logging.NullHandler())


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
