"""Inspect a file before it is registered: its kind, its identity, and whether it may ever be deleted."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from functools import partial
from typing import Final

from ..errors import FileMissing, UnsafePath, VolumeUnavailable
from ..logs import printable
from ..records import Flag, NewFile
from .bounded import NOT_ANSWERING
from .descriptors import close
from .errnos import name_of
from .identity import Identity
from .mounts import has_mount, read_mounts
from .overlay import can_move_directory, copy_up
from .paths import is_below, is_private_name, refuse_long, unsafe
from .root import Root
from .roots import Roots
from .stat import Stat
from .syscalls import DIRECTORY_FLAGS

_KINDS: Final = {
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "device",
    stat.S_IFCHR: "device",
    stat.S_IFDIR: "directory",
}


_CLOCK_TOLERANCE_NS: Final = 2_000_000_000
"""Allowed difference between the Redis clock and this host's when a birth time is compared with a registration."""


def kind_of(mode: int) -> str:
    """One word for a file that is not a regular one."""
    return _KINDS.get(stat.S_IFMT(mode), "file")


def inspect(
    path: str,
    roots: Roots,
    *,
    ttl_ms: int,
    tags: Sequence[str] = (),
    directory: bool = False,
    confined: Sequence[str] | None = None,
    age_ms: int = 0,
    older_than_ms: int | None = None,
    uid: int | None = None,
) -> NewFile:
    """
    Returns what to register for *path*: its identity, size and owner as they are now.

    Opens no special file and follows no symlink. May narrow the mode, see ``_narrow``.

    Args:
        path: as ``normalise`` returns it.
        directory: the whole directory is meant. Without it, a directory is refused.
        confined: directories that the path must be below as well (the roots of messages).
        older_than_ms: when a process registered the path that could not see it. A younger file was not meant.
        uid: only a file of this user; None for any.

    Raises:
        FileMissing: nothing has that name.
        UnsafePath: a file that may never be deleted; ``reason`` says why in one word.
        VolumeUnavailable: its root is not here now, or does not answer.
    """
    root = _root_of(path, roots, confined)
    work = partial(_look_below, path, root, roots, older_than_ms, uid, directory=directory)
    try:
        status, identity = root.calls.ask(work)
    except OSError as exc:
        raise _as_path_error(path, exc) from None
    size, flags = (0, Flag.DIRECTORY.value) if directory else (status.size, "")
    return NewFile(path, ttl_ms, size, identity, flags, status.uid, tags=tuple(tags), age_ms=age_ms)


def _look_below(
    path: str, root: Root, roots: Roots, older_than_ms: int | None, uid: int | None, *, directory: bool
) -> tuple[Stat, Identity]:
    parent, name = os.path.split(path[len(root.prefix) :])
    with roots.use():
        fd = roots.system.open_beneath(root.fd, parent or ".", DIRECTORY_FLAGS)
        try:
            looked = _look_at(path, root, roots, fd, name, older_than_ms, uid, directory=directory)
            root.private.prepare()
            return looked
        finally:
            close(fd)


def _look_at(
    path: str,
    root: Root,
    roots: Roots,
    fd: int,
    name: str,
    older_than_ms: int | None,
    uid: int | None,
    *,
    directory: bool,
) -> tuple[Stat, Identity]:
    """Refuse what may never be deleted, narrow the mode, and identify the rest."""
    reader = roots.system.reader()
    status = reader.stat(fd, name)
    _refuse_kind(path, status, directory=directory)
    if status.is_elsewhere(root.mount, root.device):
        raise unsafe(path, "mount")
    if directory and has_mount(path, read_mounts()):
        raise unsafe(
            path, "mount", "something is mounted in it; unmount that, or register the files beside it"
        )
    _refuse_stranger(path, status, roots)
    if uid not in (None, status.uid):
        raise unsafe(path, "owner", f"it belongs to uid {status.uid}")
    if older_than_ms is not None and is_younger(status, older_than_ms):
        raise unsafe(path, "too-young", "it was not there to be registered")
    is_in_root = "/" not in path[len(root.prefix) :]
    if not is_in_root and os.fstat(fd).st_dev != root.device:
        raise unsafe(path, "subvolume")
    if root.is_overlay:
        copy_up(fd, name, status)
        if directory and not can_move_directory(fd, name, root.private):
            raise unsafe(path, "image-layer")
        status = reader.stat(fd, name)
    if _narrow(fd, name, status, roots.settings.permission_mask):
        status = reader.stat(fd, name)
    return status, Identity.of(reader, fd, name, status, handles=root.handles)


def _root_of(path: str, roots: Roots, confined: Sequence[str] | None) -> Root:
    if confined is not None and not is_below(path, confined):
        raise unsafe(path, "outside-message-roots")
    refuse_long(path)
    if any(is_private_name(part) for part in path.split("/")):
        raise unsafe(path, "private")
    root = roots.find(path)
    if root is None:
        if roots.holds_a_root(path):
            raise unsafe(path, "root")
        if reason := roots.is_unavailable(path):
            raise VolumeUnavailable(
                f"the root of {printable(path)} is not available", base_dir=path, reason=reason
            )
        raise roots.outside(path)
    roots.check_open()
    if reason := root.moved():
        if reason == NOT_ANSWERING:
            raise root.calls.error()
        raise VolumeUnavailable(
            f"{printable(root.path)} is not the directory that was opened", base_dir=root.path, reason=reason
        )
    return root


def is_younger(status: Stat, registered_ms: int) -> bool:
    """
    Whether the file of *status* was created after its registration, as far as the system shows. If there is no birth
    time, the last change is used instead.
    """
    born_ns = status.change_ns if status.birth_ns is None else status.birth_ns
    return born_ns > registered_ms * 1_000_000 + _CLOCK_TOLERANCE_NS


def _refuse_kind(path: str, status: Stat, *, directory: bool) -> None:
    kind = status.kind
    if kind == (stat.S_IFDIR if directory else stat.S_IFREG):
        return
    if directory and kind == stat.S_IFREG:
        raise unsafe(path, "not-a-directory")
    raise unsafe(path, kind_of(status.mode))


def _refuse_stranger(path: str, status: Stat, roots: Roots) -> None:
    """Only the owner of a file, or root, may register it."""
    if roots.settings.owner_check and os.geteuid() not in (0, status.uid):
        raise unsafe(
            path, "owner", f"it belongs to uid {status.uid}, and only its owner or root may register it"
        )


def _narrow(fd: int, name: str, status: Stat, mask: int) -> bool:
    """
    Remove the permissions beyond *mask*, through a descriptor of the file itself. Returns whether there were any.

    A file of another user, and a file with another hard link, keep their mode: the other name was not registered.
    """
    if status.nlink > 1 and status.kind == stat.S_IFREG:
        return False
    mode = stat.S_IMODE(status.mode)
    narrow = mode & mask
    if status.kind == stat.S_IFDIR:  # a directory that may be read may be searched; sticky and set-gid stay
        narrow = mode & (mask | (mask & 0o444) >> 2 | stat.S_ISVTX | stat.S_ISGID)
    if narrow == mode or os.geteuid() not in (0, status.uid):
        return False
    opened = os.open(
        name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=fd
    )
    try:
        current = os.fstat(opened)
        kind = stat.S_IFMT(current.st_mode)
        if (current.st_ino, current.st_dev, kind) != (status.ino, status.device, status.kind):
            raise OSError(errno.ESTALE, "replaced meanwhile")
        os.fchmod(opened, narrow)
    finally:
        close(opened)
    return True


def _as_path_error(path: str, exc: OSError) -> FileMissing | UnsafePath | OSError:
    if exc.errno in (errno.ENOENT, errno.ENOTDIR):
        return FileMissing.of(path)
    if exc.errno == errno.ELOOP:
        return unsafe(path, "symlink", "a parent became a symlink")
    if exc.errno == errno.EXDEV:
        return unsafe(path, "mount")
    return unsafe(path, name_of(exc))
