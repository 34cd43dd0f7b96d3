"""
The names of keepers: by default the login and the program, so that a hold of one program is not ended by another one.
"""

from __future__ import annotations

import os
import pwd
import sys
from functools import cache

from ..errors import InvalidHoldName
from ..validation import ends_a_line

LONGEST_NAME = 200
"""Characters of a name. Redis stores it once for each held file."""


def keeper_name(name: str | None) -> str:
    """
    Check the name of a hold; None becomes the caller's own name, login@program.

    Raises:
        InvalidHoldName: it is empty, has more than 200 characters, or contains control characters.
    """
    if name is None:
        return own_name()
    if not 0 < len(name) <= LONGEST_NAME or any(map(ends_a_line, name)):
        raise InvalidHoldName(
            f"{name[:LONGEST_NAME]!r} is not a valid name. {InvalidHoldName.__doc__}", value=name
        )
    return name


def own_name() -> str:
    """Returns ``login@program``, such as ``anna@tempfleet`` on the console; at most 200 characters on one line."""
    return f"{_clean(_login(os.geteuid()))}@{_clean(_program(sys.argv[0] if sys.argv else ''))}"


@cache
def _login(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _program(argv0: str) -> str:
    """The file name of a script or program; of ``python -m package`` the package."""
    directory, name = os.path.split(argv0)
    if name == "__main__.py":
        name = os.path.basename(directory)
    # ``python -c`` and an interactive interpreter have no file.
    return name if name and not name.startswith("-") else "python"


def _clean(part: str) -> str:
    return "".join("?" if ends_a_line(c) else c for c in part[: LONGEST_NAME // 2 - 1])
