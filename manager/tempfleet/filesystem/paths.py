"""Names: how a path is written in the registry, and how an unguessable one is made."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UnsafePath
from ..logs import printable

pass

_TOKEN_BYTES = 20
"""160 bits: nobody guesses one, and no two are alike."""


def normalise(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """
    *path* as the registry writes it: absolute, its parent resolved, the last component as it is.

    The file need not exist. A final symlink is kept, so that registering can refuse it by name.

    Raises:
        UnsafePath: empty, with a NUL, not encodable, or ending in ``/``, ``.`` or ``..``.
    """
    given = os.fspath(path)
    if "\0" in (text := os.fsdecode(given)):
        raise unsafe(text, "nul")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise unsafe(text, "encoding") from None
    if not text:
        raise unsafe(text, "empty")
    parent, name = os.path.split(text)
    if name in ("", ".", ".."):
        raise unsafe(text, "no-name")
    resolved = os.path.realpath(parent or os.curdir)
    return f"/{resolved.strip('/')}/{name}" if resolved.strip("/") else f"/{name}"


def beginning(text: str) -> str:
    """
    What paths that begin with *text* have in the registry: its last component may be part of a name, and the rest is
    resolved as in ``normalise``. Nothing stays nothing.
    """
    parent, start = os.path.split(text)
    return os.path.join(os.path.realpath(parent or os.curdir), start) if text else ""


def new_name(prefix: str = "", suffix: str = "") -> str:
    """
    A name that nobody can guess and that is never used twice.

    Raises:
        UnsafePath: a prefix or suffix with ``/`` or NUL, or not encodable; a prefix like that of our own directory.
    """
    for part in (prefix, suffix):
        if "/" in part or "\0" in part:
            raise unsafe(part, "separator")
        try:
            os.fsencode(part)
        except UnicodeEncodeError:
            raise unsafe(part, "encoding") from None
    if is_private_name(prefix):
        raise unsafe(prefix, "private", "such names are Tempfleet's own")
    return f"{prefix}{secrets.token_hex(_TOKEN_BYTES)}{suffix}"


WHY = {
    "nul": "a path has no NUL in it",
    "encoding": "this cannot be written as a file name",
    "empty": "an empty path names nothing",
    "no-name": "name the file or directory itself, not . or .. and without a slash at the end",
    "separator": "a prefix or suffix is part of a name, without / in it",
    "outside-roots": "it is outside the directories that files may be deleted in (TEMP_FILE_ALLOWED_ROOTS)",
    "outside-message-roots": "it is outside the directories that a message may name files in (TEMP_FILE_MESSAGE_ROOTS)",
    "directory": "it is a directory; say so (directory=True, --directory) to have it deleted whole",
    "not-a-directory": "it is a file; register it without directory=True, --directory",
    "symlink": "it is a symlink, and links are never followed; register the file itself",
    "fifo": "it is a FIFO; only regular files and directories are managed",
    "socket": "it is a socket; only regular files and directories are managed",
    "device": "it is a device; only regular files and directories are managed",
    "mount": "it is on another mount than its root, or a mount itself; make that mount a root",
    "private": "it is in Tempfleet's own directory",
    "root": "it is, or holds, a directory that files are deleted in, and such a one is never deleted",
}
"""What is wrong with a path and what to do, by the reason on the error."""


def unsafe(path: str, reason: str, why: str = "", *, deed: str = "managed") -> UnsafePath:
    """The error, its message with the name made printable; *deed* is what cannot be done with it."""
    said = why or WHY.get(reason, reason)
    return UnsafePath(f"{printable(path) or repr('')} cannot be {deed}: {said}.", path=path, reason=reason)


pass
pass


def is_below(path: str, directories: Sequence[str]) -> bool:
    """Whether normalised *path* is below one of *directories* (resolved here)."""
    return any(path.startswith(os.path.realpath(at).rstrip("/") + "/") for at in directories)


if TYPE_CHECKING:
    pass


PREFIX = ".tempfleet-"


def private_name() -> str:
    """The first name that this user's private directories are given."""
    return f"{PREFIX}{os.geteuid()}"


def is_private_name(name: str) -> bool:
    """Whether a component of a path is one of ours: nothing in there may be registered."""
    return name.startswith(PREFIX)
