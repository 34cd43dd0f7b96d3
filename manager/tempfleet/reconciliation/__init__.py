"""
Finds where the registry and the disk disagree, and says so.

    disk_identity   is this the disk that the records are of?
    unregistered    files on disk without a record
    unverified      records made for a silent host
    takeover        records of a host that is gone
    interrupted     what interrupted clean-ups left in the private directories

Promises: a record is never taken for missing because a disk is not there. Every step can be repeated after a crash.

Does not: delete a user's file. What it registers is deleted later, by a clean-up.
"""

from . import disk_identity
from .disk_identity import PASSING, confirm
from .interrupted import Aftermath
from .takeover import Takeover, foresee, take_over
from .unregistered import Finder, Found
from .unverified import RECORDED, verify_unseen

__all__ = [
    "PASSING",
    "RECORDED",
    "Aftermath",
    "Finder",
    "Found",
    "Takeover",
    "confirm",
    "disk_identity",
    "foresee",
    "take_over",
    "verify_unseen",
]
