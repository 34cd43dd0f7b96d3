"""Where an embedded server lives: its DIR, the files in it, and a socket path that is short enough."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from pathlib import Path
from urllib.parse import unquote

from ..errors import EmbeddedServerError

SCHEME = "embedded://"

CLIENTS_LOCK, CONNECT_LOCK, KEEPER_LOCK, SERVER_LOCK = (
    "clients.lock",
    "connect.lock",
    "keeper.lock",
    "server.lock",
)
SOCKET_NAME, PID, LOG = "socket", "server.pid", "server.log"

LONGEST_SOCKET_PATH = 103
"""Bytes in ``sun_path`` without its zero: 107 on Linux, 103 on macOS."""

PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
"""A path that no URL parser reads in another way; every other one gets a socket under a short name."""


def is_embedded(url: str) -> bool:
    return url.startswith(SCHEME)


def directory_of(url: str) -> str:
    """
    The DIR of ``embedded://DIR``, absolute or below ``~``. A relative one is refused: it would be another registry in
    each working directory, and is mostly a slash too few.
    """
    named = url.removeprefix(SCHEME)
    if not named or "?" in named or "#" in named:
        raise EmbeddedServerError(f"{url!r} should be embedded://DIR, a directory and nothing behind it")
    directory = os.path.expanduser(unquote(named))
    if directory.startswith("~"):
        raise EmbeddedServerError(f"{url!r}: there is no such home directory; name an absolute DIR")
    if not os.path.isabs(directory):
        raise EmbeddedServerError(
            f"{url!r}: DIR must be absolute; did you mean {SCHEME}/{named} (three slashes) or "
            f"{SCHEME}{os.path.abspath(named)}?"
        )
    return directory


def prepare(directory: str | os.PathLike[str]) -> Path:
    """
    The real path of *directory*, made with mode 0700 when it is missing.

    One that exists is never changed (it may be somebody's home), but others must not be able to write to it.
    """
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        home = Path(directory).resolve(strict=True)
        _check_private(home, 0o022)
    except (OSError, ValueError) as exc:
        raise EmbeddedServerError(f"the embedded server cannot live in {directory!s}: {exc}") from exc
    return home


def socket_path(home: Path) -> str:
    """A short and plain path for *home*'s socket: in *home*, else in a private temporary directory."""
    inside = str(home / "server.sock")
    if _fits(inside):
        return inside
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:24] + ".sock"
    roots = (
        os.path.join(root, f"tempfleet-sockets-{os.geteuid()}") for root in (tempfile.gettempdir(), "/tmp")
    )
    root = next(root for root in roots if _fits(os.path.join(root, name)))
    return str(_private_directory(root) / name)


def read(path: Path) -> str:
    """The text of a small file; empty when there is none."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""


def write(path: Path, text: str) -> None:
    """Write a small file so that a reader sees all of it or none."""
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(f"{text}\n")
    draft.replace(path)


def _fits(path: str) -> bool:
    return bool(PLAIN.fullmatch(path)) and len(path) <= LONGEST_SOCKET_PATH


def _private_directory(root: str) -> Path:
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        _check_private(Path(root), 0o077)
    except OSError as exc:
        raise EmbeddedServerError(f"no private directory for the server's socket: {exc}") from exc
    return Path(root)


def _check_private(path: Path, others: int) -> None:
    """Refuse what is not a directory of ours (a symlink is not one), or grants *others* to anybody else."""
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise PermissionError(f"{path} is not a directory")
    if found.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to uid {found.st_uid}, and this process is uid {os.geteuid()}")
    if found.st_mode & others:
        raise PermissionError(f"{path} is open to other users; chmod 700 it")
