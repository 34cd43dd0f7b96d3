"""
Quotas, and eviction on a full disk.

    quota           admits registrations within the limits
    making_room     deletes other files of a registrant over a limit
    vain_searches   remembers which searches for such files found none
    host_totals     the files and bytes of all volumes of a host
    usage           how full disks and memory are
    evictor         when to evict, and how long to wait after a pass that freed nothing
    eviction_pass   one file system, down to its low mark
    policies        the score of each candidate
    selection       the candidates with the lowest scores that free enough

Promises: a registration over a limit is rejected, or files with the lowest scores of the eviction policy are deleted
before their deadlines. Then none is rejected while another file of its registrant could be deleted. An eviction pass
stops when the disk is down to its low mark.

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
