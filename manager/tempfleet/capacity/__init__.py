"""
Quotas, and room on a full disk.

Promises: a registration over a limit is refused, or files that the policy puts first are deleted before their time. An
eviction pass stops when the disk is below its low mark.

Does not: evict files that are held, in use or not registered.
"""

from . import evictor
from .eviction_pass import EvictionReport
from .evictor import Evictor
from .policies import chosen_policy
from .quota import Admission, check_size, refusal, soft_warnings
from .usage import is_watched

__all__ = [
    "Admission",
    "EvictionReport",
    "Evictor",
    "check_size",
    "chosen_policy",
    "evictor",
    "is_watched",
    "refusal",
    "soft_warnings",
]
