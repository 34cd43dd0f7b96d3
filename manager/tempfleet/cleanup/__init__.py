"""
Claim, delete, settle, batch by batch.

Promises: whatever ends a batch early hands back what was not started. A process that dies loses nothing, because its
lease runs out and the batch is claimed again. A dry run changes nothing.

Does not: unlink (deletion/ does) or change a record except by a script of the registry.
"""

from .cause import Cause
from .cleaner import Cleaner
from .preview import MAKING_SECONDS, UNMADE, may_be_unmade
from .report import CleanupReport

__all__ = ["MAKING_SECONDS", "UNMADE", "Cause", "Cleaner", "CleanupReport", "may_be_unmade"]
