"""
Named points between two system calls of the delete path, at which a test can stop the process.

In production ``reach`` is a function that does nothing. A test's own child process puts another in its place.
"""

from __future__ import annotations

from collections.abc import Callable

POINTS = (
    "direct.found",
    "direct.unlinked",
    "guarded.found",
    "guarded.moved",
    "guarded.compared",
    "guarded.unlinked",
    "guarded.put-back",
    "tree.entry",
    "tree.emptied",
    "secure.overwritten",
    "set-aside.noted",
    "set-aside.moved",
    "restore.moved",
    "exchange.found",
    "exchange.made",
    "exchange.written",
    "exchange.promised",
    "exchange.swapped",
    "exchange.settled",
    "exchange.forgotten",
    "recovery.put-back",
)
"""Every point, in the order of a file's way through them."""


def _nothing(point: str) -> None:
    return


reach: Callable[[str], None] = _nothing
"""Call it as ``faults.reach(point)``: tests put another function here."""


def install(hook: Callable[[str], None] | None) -> None:
    """For tests: call *hook* at every point from now on; None ends it."""
    global reach
    reach = hook or _nothing
