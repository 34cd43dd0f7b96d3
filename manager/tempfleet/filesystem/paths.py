"""Paths as the registry stores them, new names that nobody can guess, and what is wrong with other paths."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence

from ..errors import UnsafePath, VolumeUnavailable
from ..logs import printable
from .bounded import Bounded, bounded_above
from .cached_path import cached_path

PREFIX = ".tempfleet-"

LONGEST_PATH = 4095
"""The kernel takes no longer one (PATH_MAX). A longer one can be made, but most programs cannot name it."""
_SHORT = LONGEST_PATH // 4
"""So many characters have at most as many bytes as the longest path."""
"""The names of private directories begin with this."""

StrPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_MOST_LOOKED_UP = 64

_looking_up: dict[str, Bounded] = {}
"""The directories that are being looked up, so that each has at most one thread that hangs."""

_TOKEN_BYTES = 20
"""160 bits: nobody can guess one, and no two are equal."""


def normalise(path: StrPath) -> str:
    """
    Returns *path* as the registry stores it: absolute, its parent resolved, the last component unchanged.

    The file need not exist. A final symlink is kept, so that registration can refuse it.

    Raises:
        UnsafePath: empty, with a NUL, not encodable, or ending in ``/``, ``.`` or ``..``.
        VolumeUnavailable: the file system of its parent does not answer.
    """
    text = _text(path)
    if not text:
        raise unsafe(text, "empty")
    parent, name = os.path.split(text)
    if name in ("", ".", ".."):
        raise unsafe(text, "no-name")
    return f"{_resolved(parent)}/{name}"


def normalise_prefix(prefix: StrPath) -> str:
    """
    Returns *prefix* as ``records.has_prefix`` expects it: absolute, and resolved as registered paths are.

    A directory is resolved as a whole. If the last component is not a directory, or ends with ``*``, it is unchanged.
    An empty prefix stays empty.

    Raises:
        UnsafePath: with a NUL, or not encodable.
    """
    text = _text(prefix)
    if not text:
        return ""
    parent, name = os.path.split(text)
    if name in (".", "..") or (name and not name.endswith("*") and _is_directory(text)):
        return _resolved(text) or "/"
    return f"{_resolved(parent)}/{name}"


def _is_directory(path: str) -> bool:
    return bool(cached_path(path)) or Bounded(path).ask(lambda: os.path.isdir(path))


def _text(path: StrPath) -> str:
    text = os.fsdecode(os.fspath(path))
    if "\0" in text:
        raise unsafe(text, "nul")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise unsafe(text, "encoding") from None
    return text


def _resolved(directory: str) -> str:
    """Without a slash at its end, so "" is the root directory. (realpath keeps two slashes at the beginning.)"""
    text = directory or os.curdir
    resolved = (cached_path(text) or _looked_up(text)).strip("/")
    return f"/{resolved}" if resolved else ""


def _looked_up(directory: str) -> str:
    """
    As realpath, which has to ask the file systems.

    Raises:
        VolumeUnavailable: one of them does not answer.
    """
    if (root := bounded_above(os.path.abspath(directory))) is not None:
        return root.ask(lambda: os.path.realpath(directory))
    calls = _looking_up.setdefault(directory, Bounded(directory))
    try:
        if len(_looking_up) > _MOST_LOOKED_UP:
            raise calls.error()
        return calls.ask(lambda: os.path.realpath(directory))
    finally:
        if not calls.hangs():
            _looking_up.pop(directory, None)


def resolved_if_possible(directory: str) -> str:
    """
    The resolved path of *directory*, which a person named; its text if its file system does not answer. No resolved
    path is below a text that leads through a symlink, so comparing with the text can only say no.
    """
    try:
        return _resolved(directory)
    except VolumeUnavailable:
        return os.path.abspath(directory)


def new_name(prefix: str = "", suffix: str = "") -> str:
    """
    Returns a name that nobody can guess and that is never used twice.

    Raises:
        UnsafePath: a prefix or suffix with ``/`` or NUL, or not encodable; a prefix of our private directories.
    """
    for part in (prefix, suffix):
        if "/" in part or "\0" in part:
            raise unsafe(part, "separator")
        try:
            os.fsencode(part)
        except UnicodeEncodeError:
            raise unsafe(part, "encoding") from None
    if is_private_name(prefix):
        raise unsafe(prefix, "private", "such names are reserved for Tempfleet")
    return f"{prefix}{secrets.token_hex(_TOKEN_BYTES)}{suffix}"


WHY = {
    "nul": "a path must not contain NUL",
    "encoding": "it cannot be encoded as a file name",
    "empty": "the path is empty",
    "no-name": "name the file or directory itself, not . or .. and without a slash at the end",
    "separator": "a prefix or suffix is part of a name; it must not contain /",
    "outside-roots": "it is outside the directories that files may be deleted in (TEMP_FILE_ALLOWED_ROOTS)",
    "outside-message-roots": "it is outside the directories that a message may name files in (TEMP_FILE_MESSAGE_ROOTS)",
    "directory": "it is a directory; to have it deleted as a whole, use directory=True or --directory",
    "not-a-directory": "it is a file; register it without directory=True or --directory",
    "symlink": "it is a symlink, and links are never followed; register the file itself",
    "fifo": "it is a FIFO; only regular files and directories are managed",
    "socket": "it is a socket; only regular files and directories are managed",
    "device": "it is a device; only regular files and directories are managed",
    "mount": "it is on another mount than its root, or it is a mount itself; make that mount a root",
    "subvolume": "it is in another Btrfs subvolume than its root, and nothing can be moved out of one; add that one to "
    "TEMP_FILE_ALLOWED_ROOTS",
    "image-layer": "it is a directory of a container's image, so it cannot be moved or deleted as a whole; create it "
    "anew in the container, or register the files in it",
    "ENAMETOOLONG": "the path has more than 4095 bytes, or a name in it more than 255; register a directory above it",
    "private": "it is in Tempfleet's private directory",
    "root": "it is, or contains, a directory that files are deleted in; such a directory is never deleted",
}
"""What is wrong with a path and what to do, by the reason on the error."""


def unsafe(path: str, reason: str, why: str = "", *, action: str = "managed") -> UnsafePath:
    """The error for *path*. *action* is what cannot be done with it; *why* replaces the usual explanation."""
    explanation = why or WHY.get(reason, reason)
    return UnsafePath(
        f"{printable(path) or repr('')} cannot be {action}: {explanation}.", path=path, reason=reason
    )


def refuse_long(path: str) -> None:
    """
    Raises:
        UnsafePath: the path has more than LONGEST_PATH bytes.
    """
    if len(path) > _SHORT and len(os.fsencode(path)) > LONGEST_PATH:
        raise unsafe(path, "ENAMETOOLONG")


def is_below(path: str, directories: Sequence[str]) -> bool:
    """Whether normalised *path* is below one of *directories* (resolved here)."""
    return any(path.startswith(resolved_if_possible(directory) + "/") for directory in directories)


def private_name() -> str:
    """The first name to try for this user's private directory."""
    return f"{PREFIX}{os.geteuid()}"


def is_private_name(name: str) -> bool:
    """Whether a component of a path is a private directory. Nothing in it may be registered."""
    return name.startswith(PREFIX)
