"""
System calls that Python does not offer, and the replacements on systems without them.

``Capabilities`` lists the available calls. They are probed once per process, because they depend on the kernel, the C
library and a container's seccomp filter (which returns EPERM for a blocked call, with the same meaning as ENOSYS).
``System`` offers the calls with one meaning on every system. Tests give it fewer capabilities, so that the
replacements run on any machine.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import stat
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .descriptors import close
from .file_systems import (
    FUSE,
    IN_MEMORY,
    KNOWN_ELSEWHERE,
    LASTING_HANDLES,
    OVERLAY,
    WriteLocks,
    kind_of,
    may_hang,
    uuid_of,
)
from .libc import INT, TEXT, UINT, last_error, libc
from .stat import Reader, Statx

O_PATH: Final = getattr(os, "O_PATH", os.O_RDONLY)
"""If the system does not have it (macOS), a directory is opened for reading instead."""

DIRECTORY_FLAGS: Final = O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_SYS_OPENAT2: Final = 437  # one number on every architecture but alpha
_SYS_RENAMEAT2: Final = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "ppc64le": 357, "s390x": 347}

_RESOLVE_NO_XDEV: Final = 0x01
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
_RESOLVE: Final = _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH

_OPENAT2_TRIES: Final = 32
"""EAGAIN means that a rename or a mount happened during the look-up. An attacker can cause that again and again."""

_RENAME_NOREPLACE: Final = 1
_RENAME_EXCHANGE: Final = 2


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The calls that this process may use. If all are False, POSIX is enough."""

    openat2: bool = False
    statx: bool = False
    renameat2: bool = False
    handles: bool = False
    write_locks: bool = False

    @classmethod
    @functools.cache
    def probe(cls) -> Capabilities:
        """Try each call once on the root directory; changes nothing."""
        if sys.platform != "linux":
            return cls()
        return cls(
            openat2=_works(lambda: os.close(openat2(-100, b"/", os.O_RDONLY | os.O_DIRECTORY, resolve=0))),
            statx=_works(lambda: Statx().read(-100, b"/", 0)),
            renameat2=_works(_try_renameat2),
            handles=hasattr(libc(), "name_to_handle_at"),
            write_locks=True,
        )


class System:
    """
    The calls that deletion needs, with one meaning on every system.

    All raise OSError. Threads may share an instance; the buffers are in the per-thread ``Reader``.
    """

    def __init__(self, capabilities: Capabilities | None = None) -> None:
        self.can = Capabilities.probe() if capabilities is None else capabilities

    def reader(self) -> Reader:
        return Reader(statx=self.can.statx, handles=self.can.handles)

    def open_beneath(self, fd: int, relative: str, flags: int) -> int:
        """
        Open *relative* below *fd* without following a symlink or crossing a mount, even if others rename meanwhile.

        Raises:
            OSError: ELOOP for a symlink in any component, EXDEV for a mount.
        """
        if not self.can.openat2:
            return _walk(self, fd, relative, flags)
        name = os.fsencode(relative)
        flags = (
            flags & ~os.O_NOFOLLOW | os.O_CLOEXEC
        )  # NO_SYMLINKS returns ELOOP, also for the last component
        for _ in range(_OPENAT2_TRIES):
            try:
                return openat2(fd, name, flags, resolve=_RESOLVE)
            except OSError as exc:
                if exc.errno != errno.EAGAIN:
                    raise
        return _walk(self, fd, relative, flags)

    def mount_id(self, fd: int) -> int:
        """The mount of *fd*; the device number if the system does not report mounts."""
        status = self.reader().fstat(fd)
        if status.mount_id is not None:
            return status.mount_id
        mount_id = _mount_id_from_proc(fd)
        return status.device if mount_id is None else mount_id

    def has_lasting_handles(self, fd: int) -> bool:
        """Whether file handles on the file system of *fd* last as long as the object (FUSE's do not)."""
        return self.can.handles and kind_of(fd) in LASTING_HANDLES and bool(self.reader().handle(fd, "."))

    def is_in_memory(self, fd: int) -> bool:
        """Whether a reboot removes all files on the file system of *fd*; False if unknown."""
        return self.can.handles and kind_of(fd) in IN_MEMORY

    def is_overlay(self, fd: int) -> bool:
        """Whether *fd* is on an overlay, see filesystem/overlay.py."""
        return self.can.handles and kind_of(fd) == OVERLAY

    def write_locks(self, fd: int) -> WriteLocks:
        """What a write lock on the file system of *fd* shows. Network file systems may refuse each one."""
        if not self.can.write_locks:
            return WriteLocks.NOTHING
        kind = kind_of(fd)
        if kind == FUSE:
            return WriteLocks.LOCAL
        return WriteLocks.NOTHING if kind in KNOWN_ELSEWHERE else WriteLocks.ALL

    def may_hang(self, path: str) -> bool:
        """Whether a call on the directory *path* waits for a server, because of it or of a directory above it."""
        return self.can.handles and may_hang(path)

    def file_system_uuid(self, directory: int) -> str:
        """The UUID of the file system of the open *directory* in hexadecimal; "" if the system does not report it."""
        return uuid_of(directory) if self.can.handles else ""

    def rename_noreplace(
        self, from_fd: int, name: str, to_fd: int, new_name: str, *, directory: bool
    ) -> None:
        """
        Rename, but never over an existing name (EEXIST).

        Without renameat2 it is a link and an unlink of the old name. A directory cannot be linked; but rename(2)
        refuses to replace anything except an empty directory.
        """
        if self.can.renameat2:
            try:
                _renameat2(from_fd, os.fsencode(name), to_fd, os.fsencode(new_name), _RENAME_NOREPLACE)
                return
            except OSError as exc:
                if exc.errno != errno.EINVAL:  # the file system does not know the flag
                    raise
        if directory:
            os.rename(name, new_name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
            return
        os.link(name, new_name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
        try:
            os.unlink(name, dir_fd=from_fd)
        except FileNotFoundError:
            pass  # another process removed the old name just now; the new one is the file

    def exchange(self, fd: int, name: str, other_fd: int, other_name: str) -> None:
        """
        Exchange two names in one step. There is no replacement: any other way has an instant at which a name has no
        file.

        Raises:
            OSError: ENOSYS or EINVAL if the system, or the file system, cannot do it.
        """
        if not self.can.renameat2:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        _renameat2(fd, os.fsencode(name), other_fd, os.fsencode(other_name), _RENAME_EXCHANGE)


def openat2(fd: int, name: bytes, flags: int, *, resolve: int) -> int:
    how = struct.pack("=QQQ", flags, 0, resolve)
    opened = libc().syscall(
        ctypes.c_long(_SYS_OPENAT2), INT(fd), TEXT(name), TEXT(how), ctypes.c_size_t(len(how))
    )
    if opened < 0:
        raise last_error()
    return int(opened)


def _renameat2(from_fd: int, name: bytes, to_fd: int, new_name: bytes, flags: int) -> None:
    library = libc()
    if hasattr(library, "renameat2"):
        failed = library.renameat2(from_fd, name, to_fd, new_name, flags)
    else:
        number = _SYS_RENAMEAT2.get(platform.machine())
        if number is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        failed = library.syscall(
            ctypes.c_long(number), INT(from_fd), TEXT(name), INT(to_fd), TEXT(new_name), UINT(flags)
        )
    if failed:
        raise last_error()


def _try_renameat2() -> None:
    """Rename the root directory to itself: EEXIST shows that the call and its flag exist."""
    try:
        _renameat2(-100, b"/", -100, b"/", _RENAME_NOREPLACE)
    except OSError as exc:
        if exc.errno not in (errno.EEXIST, errno.EBUSY):
            raise


def _works(call: Any) -> bool:
    try:
        call()
    except (OSError, AttributeError):
        return False
    return True


def _walk(system: System, fd: int, relative: str, flags: int) -> int:
    """
    open_beneath without openat2: one component at a time. Each is kept open while the next is looked up, so replacing
    an opened component changes nothing.
    """
    *parents, last = relative.split("/")
    if ".." in (*parents, last):
        raise OSError(errno.EXDEV, "'..' in the path")
    mount = system.mount_id(fd)
    directory = os.dup(fd)
    try:
        for name in parents:
            if name not in ("", "."):
                directory = _step(system, directory, name, DIRECTORY_FLAGS, mount)
        return _step(system, directory, last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mount, keep=True)
    finally:
        close(directory)


def _step(system: System, directory: int, name: str, flags: int, mount: int, *, keep: bool = False) -> int:
    """Open *name* in *directory*, on the same mount. Closes *at* afterwards, unless *keep*, or this fails."""
    try:
        opened = os.open(name, flags, dir_fd=directory)
    except OSError as exc:
        if exc.errno == errno.ENOTDIR and _is_symlink(directory, name):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
        raise
    try:
        if system.mount_id(opened) != mount:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    except BaseException:
        close(opened)
        raise
    if not keep:
        close(directory)
    return opened


def _is_symlink(directory: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _mount_id_from_proc(fd: int) -> int | None:
    """Linux before 5.8, or without statx."""
    try:
        with Path(f"/proc/self/fdinfo/{fd}").open() as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))
    except (OSError, StopIteration):
        return None
