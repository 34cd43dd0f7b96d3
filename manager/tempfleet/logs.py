"""
How Tempfleet logs: under the logger ``tempfleet``, one line an event, no handler forced on a host application.

File names are strangers' text: a newline in one would forge a log line, an escape sequence would drive a
terminal. Whatever goes into a log line or onto a terminal passes ``printable`` first.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("tempfleet")
logger.addHandler(logging.NullHandler())


def printable(name: str) -> str:
    """
    *name* on one line, with nothing in it that a log or a terminal would obey.

    Control characters, line separators, surrogates and backslashes come out as Python escapes, so that two
    different names never print alike.
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(c if c.isprintable() and c != "\\" else ascii(c)[1:-1] for c in name)
