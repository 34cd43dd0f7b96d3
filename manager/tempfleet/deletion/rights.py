"""
What the system would say to unlinking a name, without asking it to: for dry runs and ``explain``.

As far as that can be foretold: a read-only file system, a directory that this user may not write to, an immutable file
or directory. A real deletion never asks here; it tries, and is told.
"""

from __future__ import annotations

import errno
import os

from ..filesystem import Reader


def hindrance(fd: int, name: str, reader: Reader) -> int:
    """The errno that unlinking *name* of directory *fd* would meet; 0 where nothing is in the way."""
    if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
        return errno.EROFS
    if reader.is_fixed(fd, name) or reader.is_fixed(fd, ""):
        return errno.EPERM
    known = os.access in os.supports_effective_ids
    return 0 if os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=known) else errno.EACCES
