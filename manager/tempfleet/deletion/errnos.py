"""
What an error of the system means for a record.

The question behind each line: will trying again help, and is it the file's fault or the machine's? A file's
own fault is ``failed``, tried again with back-off and in the end buried with the errno; the machine's is
``unavailable``, never counted against the file.
"""

from __future__ import annotations

import errno
from typing import Final

from ..records import Outcome

_OUTCOMES: Final = {
    errno.ENOENT: (Outcome.MISSING, ""),
    errno.ENOTDIR: (Outcome.MISSING, "not-a-directory"),  # a parent is a file now: the path is gone
    errno.ELOOP: (Outcome.REFUSED, "symlink"),
    errno.EXDEV: (Outcome.REFUSED, "mount"),
    errno.ENAMETOOLONG: (Outcome.REFUSED, "ENAMETOOLONG"),
    errno.EBUSY: (Outcome.BUSY, "EBUSY"),
    errno.ETXTBSY: (Outcome.BUSY, "ETXTBSY"),
    errno.EWOULDBLOCK: (Outcome.BUSY, "EAGAIN"),
    errno.EROFS: (Outcome.UNAVAILABLE, "EROFS"),
    errno.ESTALE: (Outcome.UNAVAILABLE, "ESTALE"),
    errno.ENODEV: (Outcome.UNAVAILABLE, "ENODEV"),
    errno.ENOTCONN: (Outcome.UNAVAILABLE, "ENOTCONN"),  # the FUSE server died
    errno.EMFILE: (Outcome.UNAVAILABLE, "EMFILE"),
    errno.ENFILE: (Outcome.UNAVAILABLE, "ENFILE"),
    errno.ENOMEM: (Outcome.UNAVAILABLE, "ENOMEM"),
    errno.ENOSPC: (Outcome.UNAVAILABLE, "ENOSPC"),  # for the private directory, or what a rename needs
    errno.EDQUOT: (Outcome.UNAVAILABLE, "EDQUOT"),
}


def name_of(exc: OSError) -> str:
    return errno.errorcode.get(exc.errno or 0, str(exc.errno))


def outcome_of(exc: OSError) -> tuple[Outcome, str]:
    """
    The outcome and its reason.

    EACCES and EPERM (a directory that may not be searched, an immutable file) are ``failed``, never
    ``missing``: what cannot be seen is not gone. So are EIO and everything unknown.
    """
    return _OUTCOMES.get(exc.errno or 0, (Outcome.FAILED, name_of(exc)))
