"""
Named points between two system calls of the delete path. A test can stop the process there.

In production ``reach`` does nothing. A test replaces it, mostly in a child process of its own.
"""

from __future__ import annotations

from collections.abc import Callable

POINTS = (
    "direct.found",
    "direct.unlinked",
    "guarded.found",
    "guarded.moved",
    "guarded.compared",
    "begin.recorded",
    "begin.renamed",
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
"""Every point, in the order in which a file passes them."""


def _nothing(point: str) -> None:
    return


reach: Callable[[str], None] = _nothing
"""Call it as ``faults.reach(point)``: tests put another function here."""


def install(hook: Callable[[str], None] | None) -> None:
    """For tests: call *hook* at every point from now on. None ends that."""
    global reach
    reach = hook or _nothing
