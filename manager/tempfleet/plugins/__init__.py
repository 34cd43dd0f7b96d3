"""
Third-party code, called with a time limit and behind a circuit breaker.

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
