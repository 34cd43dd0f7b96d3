"""Names: how a path is written in the registry, and how an unguessable one is made."""

from __future__ import annotations

import os
import secrets

from ..errors import UnsafePath
from ..logs import printable

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


def new_name(prefix: str = "", suffix: str = "") -> str:
    """
    A name that nobody can guess and that is never used twice.

    Raises:
        UnsafePath: a prefix or suffix with ``/`` or NUL, or not encodable.
    """
    for part in (prefix, suffix):
        if "/" in part or "\0" in part:
            raise unsafe(part, "separator")
        try:
            os.fsencode(part)
        except UnicodeEncodeError:
            raise unsafe(part, "encoding") from None
    return f"{prefix}{secrets.token_hex(_TOKEN_BYTES)}{suffix}"


def unsafe(path: str, reason: str, hint: str = "") -> UnsafePath:
    """The error, its message with the name made printable."""
    said = f"{printable(path)!s}: {reason}{': ' + hint if hint else ''}"
    return UnsafePath(f"{said}; {UnsafePath.__doc__}", path=path, reason=reason)
