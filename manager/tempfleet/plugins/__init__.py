"""
Third-party code, called with a time limit, and switched off if it fails too often.

    specification     the hooks that a plug-in may implement
    plugin            loads a plug-in, and calls one of its hooks
    circuit_breaker   the thread, the time limit and the switching off of one hook
    hooks             asks and notifies all plug-ins
    near_expiry       reports files close to their expiry

Promises: a plug-in that fails, hangs or answers nonsense keeps files and stops nothing else. Health reports it.

Does not: let a plug-in delete a file, or run one on the calling thread.
"""

from .hooks import FAILED, VETO, Hooks
from .near_expiry import Announcer
from .plugin import Plugin, installed
from .specification import BEFORE_DELETE, HOOKS, LOAD, Candidate, Policy, hookimpl

__all__ = [
    "BEFORE_DELETE",
    "FAILED",
    "HOOKS",
    "LOAD",
    "VETO",
    "Announcer",
    "Candidate",
    "Hooks",
    "Plugin",
    "Policy",
    "hookimpl",
    "installed",
]
