"""How far a directory tree is looked into, and what is mounted in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

LOOKED_INTO = 4096
"""Entries asked about before a directory is deleted; a larger one is decided on these."""

DEEPEST = 64
"""
Levels below it that are looked into. Each is opened from the top, name by name where there is no openat2: a chain of a
few thousand directories, which anybody can make, would take minutes.
"""


def has_mount(path: str) -> bool:
    """
    Whether something is mounted on *path* or below it. Systems without mountinfo are asked while emptying.
    """
    at = os.fsencode(path)
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    points = (_unescape(line.split(b" ")[4]) for line in lines)
    return any(point == at or point.startswith(at + b"/") for point in points)


def _unescape(point: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), point)
