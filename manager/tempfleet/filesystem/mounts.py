"""What is mounted below a directory, and under which other paths the directory can be reached."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Mount(NamedTuple):
    """
    One line of /proc/self/mountinfo.

    Attributes:
        device: the file system, as "major:minor".
        root: the directory of the file system that is mounted, without a slash at the end.
        point: where it is mounted, without a slash at the end.
    """

    device: bytes
    root: bytes
    point: bytes


def read_mounts() -> list[Mount]:
    """All mounts that this process sees; none if the system does not show them. Takes up to half a millisecond."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return []
    fields = (line.split(b" ", 5) for line in lines)
    return [Mount(device, _unescape(root), _unescape(point)) for _, _, device, root, point, *_ in fields]


def has_mount(path: str, mounts: Sequence[Mount]) -> bool:
    """
    Whether something is mounted on *path* or below it. Without mountinfo this is False; then emptying the directory
    finds the mount.
    """
    encoded = os.fsencode(path)
    return any(_is_at_or_below(mount.point, encoded) for mount in mounts)


def other_names(path: str, mounts: Sequence[Mount]) -> list[tuple[str, str]]:
    """
    The other paths of the directory *path*, and of directories in it, through other mounts of the same file system.

    Returns:
        Pairs of texts: *path* with the first one appended is the same directory as the second one.
    """
    encoded = os.fsencode(path)
    above = [mount for mount in mounts if _is_at_or_below(encoded, mount.point)]
    if not above:
        return []
    own = max(reversed(above), key=lambda mount: len(mount.point))  # of two at one point, the last one counts
    inner = own.root + encoded[len(own.point) :]
    names = set()
    for mount in mounts:
        if mount.device != own.device:
            continue
        if _is_at_or_below(inner, mount.root):
            names.add((b"", mount.point + inner[len(mount.root) :]))
        elif _is_at_or_below(mount.root, inner):
            names.add((mount.root[len(inner) :], mount.point))
    names.discard((b"", encoded))
    return sorted((os.fsdecode(inside), os.fsdecode(other)) for inside, other in names)


def _is_at_or_below(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory + b"/")


def _unescape(point: bytes) -> bytes:
    """A path of mountinfo, in which blanks and the like are octal. A root directory becomes an empty text."""
    if b"\\" in point:
        point = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), point)
    return point.rstrip(b"/")
