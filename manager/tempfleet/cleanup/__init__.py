"""
Claims files, deletes them and settles the claims, batch by batch.

Promises: if a batch ends early, the files that were not started are handed back. A process that dies loses nothing,
because its lease runs out and the batch is claimed again. A preview changes nothing.

Does not: unlink (deletion/ does), or change a record except by a script of the registry.
"""

from .cause import Cause
from .cleaner import Cleaner
from .preview import CREATION_SECONDS, NOT_CREATED, may_be_in_creation
from .report import CleanupReport

__all__ = ["CREATION_SECONDS", "NOT_CREATED", "Cause", "Cleaner", "CleanupReport", "may_be_in_creation"]
