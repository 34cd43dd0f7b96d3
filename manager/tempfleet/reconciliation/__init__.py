"""
Finds and repairs what differs between the registry and the disk.

    disk_identity   is this the disk that the records were made for?
    root_disks      the same for the other roots
    unregistered    files on disk without a record
    unverified      records that another host made for a silent host
    takeover        records of a host that does not come back
    interrupted     files that interrupted clean-ups left in the private directories

Promises: if a disk is not there, no record is dropped as missing. Every step can be repeated after a crash.

Does not: choose files to delete. It finishes deletions that were interrupted; all others are left to a clean-up.
"""

from .disk_identity import EPHEMERAL, disk_identity_of
from .interrupted import InterruptedMoves
from .root_disks import RootDisks, accepted_roots, confirm_disks
from .takeover import Takeover, preview_takeover, take_over
from .unregistered import ANY_OWNER, UnregisteredFile, UnregisteredFiles, uid_of
from .unverified import UNVERIFIED, verify_unverified

__all__ = [
    "ANY_OWNER",
    "EPHEMERAL",
    "UNVERIFIED",
    "InterruptedMoves",
    "RootDisks",
    "Takeover",
    "UnregisteredFile",
    "UnregisteredFiles",
    "accepted_roots",
    "confirm_disks",
    "disk_identity_of",
    "preview_takeover",
    "take_over",
    "uid_of",
    "verify_unverified",
]
