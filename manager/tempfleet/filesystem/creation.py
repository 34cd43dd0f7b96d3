"""
Create files and directories under new names in the base directory, through its descriptor.

The name proves which file is meant, because nobody else can rename it. But if root works in a base directory that
another user owns, that user can rename all files in it. There a new file gets its identity in the private directory,
and is moved to its name afterwards. A directory always gets an identity, because a clean-up by root may delete it.
"""

from __future__ import annotations

import os

from ..records import NO_IDENTITY
from .descriptors import close
from .identity import Identity
from .roots import Roots


def create_file(roots: Roots, name: str, *, mode: int) -> int:
    """
    Create a file in the base directory and open it for reading and writing. Its mode is *mode*, whatever the umask.

    Raises:
        OSError: EEXIST if anything has the name, even a dangling symlink.
    """
    return _create_file(roots.base.fd, name, mode)


def create_directory(roots: Roots, name: str, *, mode: int) -> None:
    """
    Create a directory in the base directory.

    Raises:
        OSError: EEXIST if anything has the name.
    """
    os.mkdir(name, mode, dir_fd=roots.base.fd)


def create_identified_file(roots: Roots, name: str, *, mode: int) -> tuple[int, str]:
    """As ``create_file``; also returns the identity, NO_IDENTITY if the name is proof enough."""
    with roots.use():
        if not roots.base.is_foreign:
            return create_file(roots, name, mode=mode), NO_IDENTITY
        private = roots.base.private.open()
        fd = _create_file(private, name, mode)
        try:
            return fd, _move_out(roots, private, name, directory=False)
        except BaseException:
            close(fd)
            os.unlink(name, dir_fd=private)
            raise


def create_identified_directory(roots: Roots, name: str, *, mode: int) -> str:
    """As ``create_directory``; returns the identity. A clean-up by root needs it in every case."""
    with roots.use():
        roots.base.private.prepare()
        if not roots.base.is_foreign:
            create_directory(roots, name, mode=mode)
            return _identity_of(roots, roots.base.fd, name)
        private = roots.base.private.open()
        os.mkdir(name, mode, dir_fd=private)
        try:
            return _move_out(roots, private, name, directory=True)
        except BaseException:
            os.rmdir(name, dir_fd=private)
            raise


def _create_file(directory: int, name: str, mode: int) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, mode, dir_fd=directory)
    try:
        os.fchmod(fd, mode)
    except BaseException:
        close(fd)
        raise
    return fd


def _identity_of(roots: Roots, directory: int, name: str) -> str:
    """NO_IDENTITY instead of a weak one, because that changes with the first write."""
    reader = roots.system.reader()
    identity = Identity.of(reader, directory, name, reader.stat(directory, name), handles=roots.base.handles)
    return NO_IDENTITY if identity.is_weak else identity


def _move_out(roots: Roots, private: int, name: str, *, directory: bool) -> str:
    """Move the new file *name* of the private directory into the base directory; returns its identity."""
    identity = _identity_of(roots, private, name)
    roots.system.rename_noreplace(private, name, roots.base.fd, name, directory=directory)
    return identity
