"""Which directory this is, across reboots and remounts."""

from __future__ import annotations

from .identity import Identity
from .overlay import copy_up
from .syscalls import System


def directory_identity(system: System, fd: int) -> str:
    """
    The identity of the open directory *fd* with the UUID of its file system, which survive a reboot or a remount; "" if
    only a weak one exists. On an overlay the inode number of a directory may change with a remount, so it is left out.
    """
    reader = system.reader()
    if is_overlay := system.is_overlay(fd):
        copy_up(fd, ".")
    handles = system.has_lasting_handles(fd)
    identity = Identity.of(reader, fd, ".", reader.fstat(fd), handles=handles)
    if identity.is_weak:
        return ""
    return f"{identity.without_inode() if is_overlay else identity}@{system.file_system_uuid(fd)}"
