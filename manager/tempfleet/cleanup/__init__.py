"""
Claims files, deletes them and settles the claims, batch by batch.

    cleaner        which files: expired, named, all or matching; the loop over batches
    batch          one claim: its lease and its results
    batch_runner   one batch: ask plug-ins, delete in threads (deletion_threads), settle
    nested         what the registries promised about the files in a directory
    beside         what the other volumes of the host promised about the same files
    cause          why files are deleted, and what follows from it
    preview        what a clean-up would do: every dry run of it
    clock_watch    whether Redis's clock jumped, by the clocks of this host (host_clock) and by what it last saw
                   (continuity); clock_samples compares two looks, outlook is for previews
    retry          how long a failed deletion waits (back-off), and when it becomes a dead letter
    report         the counts of one clean-up
    promises       the registry, as the deleter sees it

Promises: if a batch ends early, the files that were not started are handed back. If a process dies, its
lease ends and another process claims the batch. A preview changes nothing.

Does not: unlink (deletion/ does), or change a record except by a script of the registry.
"""

from .cause import Cause
from .cleaner import Cleaner
from .clock_watch import ClockWatch
from .host_clock import HostClock, SystemClock, boot_seconds
from .outlook import Outlook
from .preview import CREATION_SECONDS, NOT_CREATED, may_be_in_creation
from .promises import RegistryPromises
from .report import CleanupReport

__all__ = [
    "CREATION_SECONDS",
    "NOT_CREATED",
    "Cause",
    "Cleaner",
    "CleanupReport",
    "ClockWatch",
    "HostClock",
    "Outlook",
    "RegistryPromises",
    "SystemClock",
    "boot_seconds",
    "may_be_in_creation",
]
