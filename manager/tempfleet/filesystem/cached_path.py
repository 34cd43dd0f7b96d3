"""Resolves a directory from the kernel's cache alone, so that no file system is waited for."""

from __future__ import annotations

import os
from typing import Final

from .syscalls import O_PATH, Capabilities, openat2

_AT_FDCWD: Final = -100
_RESOLVE_CACHED: Final = 0x20


def cached_path(directory: str) -> str:
    """
    The resolved path of *directory*, from the kernel's cache alone, so that no file system is waited for. "" if the
    cache does not have it, if it does not exist, or before Linux 5.12.
    """
    if not Capabilities.probe().openat2:
        return ""
    flags = O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        fd = openat2(_AT_FDCWD, os.fsencode(directory), flags, resolve=_RESOLVE_CACHED)
    except OSError:
        return ""
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""
    finally:
        os.close(fd)
    # "(unreachable)/..." is outside of this process's root directory. The other words may belong to the name.
    return "" if path.endswith(" (deleted)") or not path.startswith("/") else path
