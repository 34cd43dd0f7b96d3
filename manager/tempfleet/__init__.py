"""
Tempfleet: the temp-file lifecycle manager for fleets of Celery workers.

    from tempfleet import TempFileManager

    manager = TempFileManager("/tmp/reports", max_age=3600)
    manager.register_file("/tmp/reports/today.pdf")
    manager.cleanup()
"""

from .capacity.eviction_pass import EvictionReport
from .cleanup.report import CleanupReport
from .compression.compressor import CompressionReport
from .deletion.restore import Aside
from .diagnostics.explanation import Explanation
from .diagnostics.finding import Finding
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
from .manager.manager import TempFileManager
from .manager.results import BatchResult, FileResult
from .manager.temp_file import TempDirectory, TempFile
from .reconciliation.takeover import Takeover
from .reconciliation.unregistered import Found
from .records import Deletion, FileRecord, Outcome, State
from .registry.keys import Volume
from .registry.stats import VolumeStats
from .settings.settings import Settings

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
