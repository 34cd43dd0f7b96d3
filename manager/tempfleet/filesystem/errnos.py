"""
What an errno means: for a record, and for people.

Two questions decide the outcome. Does a retry help? Is the cause the file or the machine? If it is the file, the
outcome is ``failed``: it is retried with back-off, and in the end it is a dead letter with the errno. If it is the
machine, the outcome is ``unavailable``, which is never counted as a failure of the file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Final, NamedTuple

from ..records import Outcome
from .bounded import NOT_ANSWERING

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
    errno.EEXIST: (Outcome.UNAVAILABLE, "no-private-directory"),  # only its creation has this error
}


class Meaning(NamedTuple):
    """
    The explanation of an errno name for people who do not know it.

    Attributes:
        text: to be printed after the name; "" for a word that needs no explanation.
        todo: what to do, as a sentence; "" if a person can only wait.
    """

    text: str
    todo: str = ""


_PLAIN: Final = Meaning("")

_MEANINGS: Final = {
    "EACCES": Meaning(
        "the worker may not write to the directory that holds it",
        "Give the worker's user that directory, or run the worker as its owner.",
    ),
    "EPERM": Meaning(
        "it or its directory is immutable, or the directory is sticky and another user owns the file",
        "lsattr shows the flags and chattr -i removes them. In a sticky directory the worker must own the file.",
    ),
    "EROFS": Meaning(
        "its file system is mounted read-only", "Mount it writable; dmesg shows what made it read-only."
    ),
    "EIO": Meaning("its disk fails", "Read dmesg; the disk may have to be replaced."),
    "ENOSPC": Meaning(
        "its file system is full", "Make room by hand, because even moving a file needs a little."
    ),
    "EDQUOT": Meaning(
        "the worker's user has used up its disk quota", "Raise the quota, or make room by hand."
    ),
    "ESTALE": Meaning("its network file system has lost it", "Mount that file system again."),
    "ENODEV": Meaning("its device is gone", "Mount it again."),
    "ENOTCONN": Meaning("the program behind its FUSE mount has died", "Mount it again."),
    NOT_ANSWERING: Meaning(
        "the server of its file system has stopped, or its disk hangs",
        "Start that server, or mount it again. Cleaning goes on by itself.",
    ),
    "EMFILE": Meaning("the worker has too many files open", "Raise its limit (ulimit -n, LimitNOFILE)."),
    "ENFILE": Meaning(
        "the machine has too many files open", "Raise fs.file-max, or find the program that opens them."
    ),
    "ENOMEM": Meaning("memory ran out"),
    "EBUSY": Meaning("the system itself uses it"),
    "ETXTBSY": Meaning("it is a running program"),
    "EAGAIN": Meaning("another process has locked it"),
    "promised-inside": Meaning("a registered file in the directory is not due yet"),
    "held-inside": Meaning("a file in the directory is held"),
    "claimed-inside": Meaning("a file in the directory is being deleted"),
    "promised-beside": Meaning("another volume of this host registered it, too, and it is not due there yet"),
    "held-beside": Meaning("another volume of this host registered it, too, and it is held there"),
    "claimed-beside": Meaning("another volume of this host registered it, too, and is deleting it"),
    "volume-inside": Meaning(
        "the directory contains the base directory of a volume",
        "Unregister the directory; or delete that base directory, if nobody uses it any more.",
    ),
    "private-inside": Meaning(
        "the directory contains a private directory of Tempfleet, where files wait for their deletion",
        "Unregister the directory; or delete that private directory, if nobody uses its root any more.",
    ),
    "registry-unreadable": Meaning(
        "the registry of a volume of this host cannot be read",
        "The log says why; perhaps it needs tempfleet upgrade.",
    ),
    "another-disk": Meaning(
        "its root is not the directory in which it was registered",
        "Mount the right disk, or end its privacy (PrivateTmp=, a container); or run tempfleet accept-disk.",
    ),
    "no-private-directory": Meaning(
        "other users have taken all names of the private directory in its root, or remove it again and again",
        "Remove their .tempfleet-<uid>* from that root.",
    ),
    "refilled": Meaning(
        "processes add files to the directory while it is emptied",
        "Stop them, or unregister the directory. Each try waits longer than the one before.",
    ),
    "unfinished": Meaning("the directory is so large that it takes several clean-ups; the next one goes on"),
    "working-directory": Meaning("a process works in the directory"),
    "ENAMETOOLONG": Meaning("its name is too long for its file system"),
}


def meaning_of(reason: str) -> Meaning:
    """Returns the explanation of *reason*. For an unusual errno it is the system's own."""
    if reason in _MEANINGS:
        return _MEANINGS[reason]
    number = getattr(errno, reason, None) if reason.startswith("E") else None
    return _PLAIN if number is None else Meaning(os.strerror(number).lower())


def in_words(reason: str) -> str:
    """Returns *reason* with its explanation."""
    text = meaning_of(reason).text
    return f"{reason}: {text}" if text else reason


def legend(reasons: Iterable[str]) -> list[str]:
    """Returns one line for each of *reasons* that needs an explanation."""
    meanings = {reason: meaning_of(reason) for reason in sorted(set(reasons))}
    return [f"{reason}: {text}. {todo}".rstrip() for reason, (text, todo) in meanings.items() if text]


def name_of(exc: OSError) -> str:
    return errno.errorcode.get(exc.errno or 0, str(exc.errno))


def outcome_of(exc: OSError) -> tuple[Outcome, str]:
    """
    Returns the outcome and its reason.

    EACCES and EPERM (a directory that may not be searched, an immutable file) are ``failed``, never ``missing``: a file
    that we cannot see is not gone. EIO and all unknown errors are ``failed`` too.
    """
    return _OUTCOMES.get(exc.errno or 0, (Outcome.FAILED, name_of(exc)))
