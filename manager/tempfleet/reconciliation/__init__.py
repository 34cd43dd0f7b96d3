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
from .interrupted import InterruptedMoves
from .takeover import Takeover, preview_takeover, take_over
from .unregistered import Finder, UnregisteredFile
from .unverified import RECORDED, verify_unverified

__all__ = [
    "PASSING",
    "RECORDED",
    "Finder",
    "InterruptedMoves",
    "Takeover",
    "UnregisteredFile",
    "confirm",
    "disk_identity",
    "preview_takeover",
    "take_over",
    "verify_unverified",
]
