"""
The last step, the same for both ways: what was proven to be ours goes, overwritten first if that is asked.
"""

from __future__ import annotations

import os

from ..filesystem import in_use
from ..filesystem import overwrite as secure
from . import failpoints as faults
from . import unlink as tree
from .session import Session, Stopped


def remove(fd: int, name: str, session: Session, *, directory: bool, held: int = -1) -> int:
    """
    Unlink the file, or empty and remove the directory, *name* of *fd*.

    Args:
        held: the descriptor that kept the file free so far, -1 for none.

    Returns:
        For a directory the bytes that its files gave back, else 0.

    Raises:
        OSError: it, or something in it, is still there.
        Stopped: out of time; it is still there, the work done so far with it.
    """
    if directory:
        return tree.remove(fd, name, session)
    if session.secure:
        if held >= 0:
            in_use.unlock(held)
        if not secure.overwrite(fd, name, session.may_go_on):
            raise Stopped
        faults.reach("secure.overwritten")
    os.unlink(name, dir_fd=fd)
    return 0
