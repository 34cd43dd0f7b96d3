"""What the kernel reports about one file: statx and file handles."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
from typing import Final, NamedTuple

from .libc import last_error, libc, quick_libc

_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_EMPTY_PATH: Final = 0x1000
_STATX_WANTED: Final = 0x07FF | 0x0800 | 0x1000  # basic, birth time, mount id
_STATX_BTIME: Final = 0x0800
_STATX_MNT_ID: Final = 0x1000
_HANDLE_BYTES: Final = 128
ENCODING: Final = sys.getfilesystemencoding()
"""The encoding of os.fsencode, without the cost of that call; the errors are surrogateescape."""

_ATTRIBUTES: Final = struct.Struct("=Q")

_FIXED: Final = 0x10 | 0x20  # STATX_ATTR_IMMUTABLE, STATX_ATTR_APPEND
_STATX: Final = struct.Struct("=I12xII4xH2xQQQ24xqI4xqI4xqI12xIIQ")


class Stat(NamedTuple):
    """The status of one entry: fields of struct statx in its order, so that reading one is one C call."""

    mask: int
    nlink: int
    uid: int
    mode: int
    ino: int
    size: int
    blocks: int
    birth_seconds: int
    birth_rest_ns: int
    change_seconds: int
    change_rest_ns: int
    modified_seconds: int
    modified_rest_ns: int
    device_major: int
    device_minor: int
    mount: int

    @property
    def kind(self) -> int:
        return stat.S_IFMT(self.mode)

    @property
    def device(self) -> int:
        return os.makedev(self.device_major, self.device_minor)

    @property
    def birth_ns(self) -> int | None:
        """None if the system does not report it."""
        return self.birth_seconds * 1_000_000_000 + self.birth_rest_ns if self.mask & _STATX_BTIME else None

    @property
    def change_ns(self) -> int:
        return self.change_seconds * 1_000_000_000 + self.change_rest_ns

    @property
    def modified_ns(self) -> int:
        return self.modified_seconds * 1_000_000_000 + self.modified_rest_ns

    @property
    def mount_id(self) -> int | None:
        """None if the system does not report it."""
        return self.mount if self.mask & _STATX_MNT_ID else None

    def is_elsewhere(self, mount: int, device: int) -> bool:
        """Whether this is on another mount than its directory, because something is mounted on the name."""
        return self.mount != mount if self.mask & _STATX_MNT_ID else self.device != device

    @property
    def freed_bytes(self) -> int:
        """What unlinking gives back: nothing if there is another link, and never more than is allocated."""
        return min(self.size, self.blocks * 512) if self.nlink == 1 else 0


class Reader:
    """Reads entries into its own buffers. It is fast, and for one thread at a time."""

    __slots__ = ("_handle", "_statx")

    def __init__(self, *, statx: bool, handles: bool) -> None:
        self._statx = Statx() if statx else None
        self._handle = _Handle() if handles else None

    def stat(self, fd: int, name: str) -> Stat:
        """The status of the entry *name* of directory *fd*; of a symlink, not of its target."""
        if self._statx is not None:
            return self._statx.read(fd, name.encode(ENCODING, "surrogateescape"), _AT_SYMLINK_NOFOLLOW)
        return _from_os(os.stat(name, dir_fd=fd, follow_symlinks=False))

    def fstat(self, fd: int) -> Stat:
        if self._statx is not None:
            return self._statx.read(fd, b"", _AT_EMPTY_PATH)
        return _from_os(os.fstat(fd))

    def is_fixed(self, fd: int, name: str) -> bool:
        """Whether *name* of directory *fd* ("" for *fd*) is immutable or append-only; it cannot be unlinked then."""
        if self._statx is None:
            return False
        flags = _AT_SYMLINK_NOFOLLOW if name else _AT_EMPTY_PATH
        return bool(self._statx.attributes(fd, name.encode(ENCODING, "surrogateescape"), flags) & _FIXED)

    def handle(self, fd: int, name: str) -> str:
        """The kernel's file handle in hexadecimal: inode and generation, never used twice. "" if there is none."""
        if self._handle is None:
            return ""
        return self._handle.read(fd, name.encode(ENCODING, "surrogateescape"))


class Statx:
    __slots__ = ("_address", "_buffer", "_quick", "_slow")

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(256)
        self._address = ctypes.addressof(self._buffer)
        self._quick, self._slow = quick_libc().statx, libc().statx

    def read(self, fd: int, name: bytes, flags: int) -> Stat:
        # Saving errno costs a fifth of the call. So the call is repeated with errno only if it has failed.
        if self._quick(fd, name, flags, _STATX_WANTED, self._address) and self._slow(
            fd, name, flags, _STATX_WANTED, self._address
        ):
            raise last_error()
        return tuple.__new__(Stat, _STATX.unpack_from(self._buffer))

    def attributes(self, fd: int, name: bytes, flags: int) -> int:
        self.read(fd, name, flags)
        return int(_ATTRIBUTES.unpack_from(self._buffer, 8)[0])


class _Handle:
    """struct file_handle { unsigned handle_bytes; int handle_type; unsigned char f_handle[]; }"""

    __slots__ = ("_address", "_buffer", "_bytes", "_mount", "_mount_address", "_quick", "_slow")

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(8 + _HANDLE_BYTES)
        self._bytes = memoryview(self._buffer).cast("B")
        self._address = ctypes.addressof(self._buffer)
        self._mount = ctypes.c_uint64()
        self._mount_address = ctypes.addressof(self._mount)
        self._quick, self._slow = quick_libc().name_to_handle_at, libc().name_to_handle_at

    def read(self, fd: int, name: bytes) -> str:
        # handle_bytes still has the value of the last handle, which is usually right. Otherwise the call fails and is
        # repeated.
        if self._quick(fd, name, self._address, self._mount_address, 0):
            _LENGTH.pack_into(self._buffer, 0, _HANDLE_BYTES)
            if self._slow(fd, name, self._address, self._mount_address, 0):
                exc = last_error()
                if exc.errno in _NO_HANDLE:
                    return ""
                raise exc
        return self._bytes[4 : 8 + _LENGTH.unpack_from(self._buffer)[0]].hex()


_LENGTH: Final = struct.Struct("=I")

_NO_HANDLE: Final = (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.EOVERFLOW)


def _from_os(status: os.stat_result) -> Stat:
    birth = getattr(status, "st_birthtime", None)
    birth_us = 0 if birth is None else int(birth * 1_000_000)
    return Stat(
        0 if birth is None else _STATX_BTIME,
        status.st_nlink,
        status.st_uid,
        status.st_mode,
        status.st_ino,
        status.st_size,
        status.st_blocks,
        birth_us // 1_000_000,
        birth_us % 1_000_000 * 1000,
        *divmod(status.st_ctime_ns, 1_000_000_000),
        *divmod(status.st_mtime_ns, 1_000_000_000),
        os.major(status.st_dev),
        os.minor(status.st_dev),
        0,
    )
