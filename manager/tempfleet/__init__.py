"""
Tempfleet: the temp-file lifecycle manager for fleets of Celery workers.

    from tempfleet import TempFileManager

    manager = TempFileManager("/tmp/reports", max_age=3600)
    manager.register_file("/tmp/reports/today.pdf")
    manager.cleanup()
"""

from .capacity import EvictionReport
from .cleanup import CleanupReport
from .compression import CompressionReport
from .deletion import QuarantinedFile
from .diagnostics import Explanation, Finding
from .errors import (
    AlreadyClaimed,
    BatchError,
    CompressionUnavailable,
    EvictingRedis,
    FileHeld,
    FileMissing,
    HeldByAnother,
    HostLive,
    InvalidHoldName,
    InvalidOwner,
    InvalidTag,
    InvalidTTL,
    LeaseLost,
    ManagerClosed,
    NotRegistered,
    PathError,
    QuotaExceeded,
    ReasonTooLong,
    RegistryDenied,
    RegistryError,
    RegistryFull,
    RegistryUnavailable,
    SchemaMismatch,
    SettingsError,
    TempfleetError,
    TooManyTags,
    UnknownHost,
    UnsafePath,
    VolumeUnavailable,
)
from .manager import BatchResult, FileResult, TempDirectory, TempFile, TempFileManager
from .reconciliation import Takeover, UnregisteredFile
from .records import Deletion, FileRecord, Keeper, Outcome, State
from .registry import Volume, VolumeStats
from .settings import Settings

# The first names of these two classes; they can still be imported.
Aside = QuarantinedFile
Found = UnregisteredFile

__all__ = [
    "AlreadyClaimed",
    "BatchError",
    "BatchResult",
    "CleanupReport",
    "CompressionReport",
    "CompressionUnavailable",
    "Deletion",
    "EvictingRedis",
    "EvictionReport",
    "Explanation",
    "FileHeld",
    "FileMissing",
    "FileRecord",
    "FileResult",
    "Finding",
    "HeldByAnother",
    "HostLive",
    "InvalidHoldName",
    "InvalidOwner",
    "InvalidTTL",
    "InvalidTag",
    "Keeper",
    "LeaseLost",
    "ManagerClosed",
    "NotRegistered",
    "Outcome",
    "PathError",
    "QuarantinedFile",
    "QuotaExceeded",
    "ReasonTooLong",
    "RegistryDenied",
    "RegistryError",
    "RegistryFull",
    "RegistryUnavailable",
    "SchemaMismatch",
    "Settings",
    "SettingsError",
    "State",
    "Takeover",
    "TempDirectory",
    "TempFile",
    "TempFileManager",
    "TempfleetError",
    "TooManyTags",
    "UnknownHost",
    "UnregisteredFile",
    "UnsafePath",
    "Volume",
    "VolumeStats",
    "VolumeUnavailable",
]
