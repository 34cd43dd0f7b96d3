"""
TempFileManager: the public API.

Promises: each method is a thin line from a caller's path to one call of a room below. A manager survives a fork and can
be pickled. The end of its ``with`` block deletes only the files that this object registered. LocalVolume is one volume
with its engines, for a manager and for a worker that serves several volumes.

Does not: contain rules for deleting, limits or retries. The rooms below have them.
"""

from .local_volume import LocalVolume
from .manager import TempFileManager
from .results import REGISTERED, BatchResult, FileResult
from .temp_file import TempDirectory, TempFile

__all__ = [
    "REGISTERED",
    "BatchResult",
    "FileResult",
    "LocalVolume",
    "TempDirectory",
    "TempFile",
    "TempFileManager",
]
