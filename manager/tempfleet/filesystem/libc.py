"""Declarations of the C functions that Python does not offer."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any, Final


def last_error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


@functools.cache
def libc() -> Any:
    """The C library; errno is saved after each call."""
    return _declared(ctypes.CDLL(None, use_errno=True))


@functools.cache
def quick_libc() -> Any:
    """The C library without errno, which makes each call faster."""
    return _declared(ctypes.CDLL(None))


def _declared(libc: Any) -> Any:
    libc.syscall.restype = ctypes.c_long
    for name, types in _SIGNATURES.items():
        if hasattr(libc, name):
            getattr(libc, name).argtypes = types
    return libc


INT, UINT, TEXT, POINTER = ctypes.c_int, ctypes.c_uint, ctypes.c_char_p, ctypes.c_void_p
_SIGNATURES: Final[dict[str, tuple[Any, ...]]] = {
    "statx": (INT, TEXT, INT, UINT, POINTER),
    "renameat2": (INT, TEXT, INT, TEXT, UINT),
    "name_to_handle_at": (INT, TEXT, POINTER, POINTER, INT),
}
