"""
Tempfleet: the temp-file lifecycle manager for fleets of Celery workers.

    from tempfleet import TempFileManager

    manager = TempFileManager("/tmp/reports", max_age=3600)
    manager.register_file("/tmp/reports/today.pdf")
    manager.cleanup()
"""

from .adoption import Found
from .compression import CompressionReport
from .created import TempDirectory, TempFile
from .deletion import Aside
from .descent import EvictionReport
from .doctor import Finding
from .errors import (
    AlreadyClaimed,
    BatchError,
    CompressionUnavailable,
    EvictingRedis,
    FileMissing,
    HostLive,
    InvalidTag,
    InvalidTTL,
    LeaseLost,
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
    UnknownHost,
    UnsafePath,
    VolumeUnavailable,
)
from .explanation import Explanation
from .keys import Volume
from .manager import TempFileManager
from .records import Deletion, FileRecord, Outcome, State
from .report import CleanupReport
from .results import BatchResult, FileResult
from .settings import Settings
from .stats import VolumeStats
from .takeover import Takeover

__all__ = [
    "AlreadyClaimed",
    "Aside",
    "BatchError",
    "BatchResult",
    "CleanupReport",
    "CompressionReport",
    "CompressionUnavailable",
    "Deletion",
    "EvictingRedis",
    "EvictionReport",
    "Explanation",
    "FileMissing",
    "FileRecord",
    "FileResult",
    "Finding",
    "Found",
    "HostLive",
    "InvalidTTL",
    "InvalidTag",
    "LeaseLost",
    "NotRegistered",
    "Outcome",
    "PathError",
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
    "UnknownHost",
    "UnsafePath",
    "Volume",
    "VolumeStats",
    "VolumeUnavailable",
]
