"""
What an error of the system means: for a record, and for people.

The question behind each line: will trying again help, and is it the file's fault or the machine's? A file's
own fault is ``failed``, tried again with back-off and in the end buried with the errno; the machine's is
``unavailable``, never counted against the file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Final, NamedTuple

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


class Meaning(NamedTuple):
    """
    What people are told of an error's name, which alone is a riddle to most.

    Attributes:
        said: what is so, to stand behind the name; "" for a word that says it itself.
        todo: what to do, a sentence; "" where there is nothing but to wait.
    """

    said: str
    todo: str = ""


_PLAIN: Final = Meaning("")

_MEANINGS: Final = {
    "EACCES": Meaning(
        "the worker may not write to the directory that holds it",
        "Give the worker's user that directory, or run the worker as its owner.",
    ),
    "EPERM": Meaning(
        "it or its directory is immutable, or the directory is sticky and the file somebody else's",
        "lsattr shows the flags and chattr -i takes them off; in a sticky directory the worker must be its owner.",
    ),
    "EROFS": Meaning(
        "its file system is mounted read-only", "Mount it writable; dmesg says what made it read-only."
    ),
    "EIO": Meaning("its disk fails", "Look into dmesg; the disk may have to be replaced."),
    "ENOSPC": Meaning("its file system is full", "Make room by hand: moving a file aside needs a little."),
    "EDQUOT": Meaning(
        "the worker's user has used up its disk quota", "Raise the quota, or make room by hand."
    ),
    "ESTALE": Meaning("its network file system has lost it", "Mount that anew."),
    "ENODEV": Meaning("its device is gone", "Mount it again."),
    "ENOTCONN": Meaning("the program behind its FUSE mount has died", "Mount that anew."),
    "EMFILE": Meaning("the worker has too many files open", "Raise its limit (ulimit -n, LimitNOFILE)."),
    "ENFILE": Meaning("the machine has too many files open", "Raise fs.file-max, or find who opens them."),
    "ENOMEM": Meaning("memory ran out"),
    "EBUSY": Meaning("the system itself uses it"),
    "ETXTBSY": Meaning("it is a program that runs"),
    "EAGAIN": Meaning("somebody has it locked"),
    "ENAMETOOLONG": Meaning("its name is longer than its file system takes"),
}


def meaning_of(reason: str) -> Meaning:
    """What to tell of a reason: of an error's name, as the system does where it is none of the usual."""
    if reason in _MEANINGS:
        return _MEANINGS[reason]
    number = getattr(errno, reason, None) if reason.startswith("E") else None
    return _PLAIN if number is None else Meaning(os.strerror(number).lower())


def in_words(reason: str) -> str:
    """The name, and what it means."""
    said = meaning_of(reason).said
    return f"{reason}: {said}" if said else reason


def legend(reasons: Iterable[str]) -> list[str]:
    """A line for each of *reasons* that needs one."""
    meanings = {reason: meaning_of(reason) for reason in sorted(set(reasons))}
    return [f"{reason}: {said}. {todo}".rstrip() for reason, (said, todo) in meanings.items() if said]


def name_of(exc: OSError) -> str:
    return errno.errorcode.get(exc.errno or 0, str(exc.errno))


def outcome_of(exc: OSError) -> tuple[Outcome, str]:
    """
    The outcome and its reason.

    EACCES and EPERM (a directory that may not be searched, an immutable file) are ``failed``, never
    ``missing``: what cannot be seen is not gone. So are EIO and everything unknown.
    """
    return _OUTCOMES.get(exc.errno or 0, (Outcome.FAILED, name_of(exc)))
