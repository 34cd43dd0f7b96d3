"""
Quotas, and eviction on a full disk.

    quota, host_totals   whether a registration fits, and what a host stores
    usage                how full a disk is
    evictor              when to evict
    eviction_pass        one run of an eviction
    selection            which files of a batch go
    policies             in which order

Promises: a registration over a limit is rejected, or files with the lowest scores of the eviction policy are deleted
before their deadlines. An eviction pass stops when the disk is down to its low mark.

Does not: delete files that are held, in use or not registered.
"""

from .eviction_pass import EvictionReport
from .evictor import Evictor, eviction_warnings
from .policies import chosen_policy
from .quota import Admission, check_size, quota_error, quota_warnings
from .usage import is_watched

__all__ = [
    "Admission",
    "EvictionReport",
    "Evictor",
    "check_size",
    "chosen_policy",
    "eviction_warnings",
    "is_watched",
    "quota_error",
    "quota_warnings",
]
