"""
How Tempfleet logs: under the logger ``tempfleet``, one line an event, no handler forced on a host application.

Only our own programs, the console and the worker, call ``configure``; an application that imports the library keeps its
own logging.

File names are strangers' text: a newline in one would forge a log line, an escape sequence would drive a
terminal. Whatever goes into a log line or onto a terminal passes ``printable`` first.
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
"""The specification's (8.4)."""

logger = logging.getLogger("tempfleet")
logger.addHandler(logging.NullHandler())


class TextLine(logging.Formatter):
    """One line an event, also where it carries a traceback."""

    def __init__(self) -> None:
        super().__init__(TEXT_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in super().format(record))


class JsonLine(logging.Formatter):
    """One JSON object an event: time (UTC), level, logger, process, message; error, a traceback, where there is one."""

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
    Have this process log to *file* too, from *level* on, one line an event; returns what ends that again.

    The file may be rotated under us by whoever likes to: it is opened anew when its name leads elsewhere. Several
    processes may share it. Without *file* nothing changes.

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
