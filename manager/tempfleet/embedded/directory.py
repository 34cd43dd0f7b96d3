"""The directory of an embedded server: DIR, the files in it, and a socket path that is short enough."""

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
"""The bytes of ``sun_path`` without the final zero: 107 on Linux, 103 on macOS."""

PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
"""A path that every URL parser reads in the same way. For other paths the socket gets a short name elsewhere."""


def is_embedded(url: str) -> bool:
    return url.startswith(SCHEME)


def directory_of(url: str) -> str:
    """
    Returns the DIR of ``embedded://DIR``, absolute or below ``~``. A relative DIR is refused: it would be another
    registry in each working directory, and is usually a missing slash.
    """
    path = url.removeprefix(SCHEME)
    if not path or "?" in path or "#" in path:
        raise EmbeddedServerError(f"{url!r} must be embedded://DIR, with nothing after the directory DIR")
    directory = os.path.expanduser(unquote(path))
    if directory.startswith("~"):
        raise EmbeddedServerError(f"{url!r}: there is no such home directory; use an absolute DIR")
    if not os.path.isabs(directory):
        raise EmbeddedServerError(
            f"{url!r}: DIR must be absolute; did you mean {SCHEME}/{path} (three slashes) or "
            f"{SCHEME}{os.path.abspath(path)}?"
        )
    return directory


def prepare(directory: str | os.PathLike[str]) -> Path:
    """
    Returns the real path of *directory*, which is created with mode 0700 if it does not exist.

    An existing directory is never changed, because it may be a home directory. But no other user may be able to write
    to it.
    """
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        home = Path(directory).resolve(strict=True)
        _check_private(home, 0o022)
    except (OSError, ValueError) as exc:
        raise EmbeddedServerError(f"the embedded server cannot live in {directory!s}: {exc}") from exc
    return home


def socket_path(home: Path) -> str:
    """Returns a short and plain path for the socket of *home*: in *home*, or in a private temporary directory."""
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
    """Returns the text of a small file; "" if it does not exist."""
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
        raise EmbeddedServerError(
            f"there is no private directory for the socket of the server: {exc}"
        ) from exc
    return Path(root)


def _check_private(path: Path, others: int) -> None:
    """Refuse anything but a directory of our own (not a symlink) without the permissions *others*."""
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise PermissionError(f"{path} is not a directory")
    if status.st_uid != os.geteuid():
        raise PermissionError(
            f"{path} belongs to uid {status.st_uid}, and this process is uid {os.geteuid()}"
        )
    if status.st_mode & others:
        raise PermissionError(f"{path} is open to other users; chmod 700 it")
