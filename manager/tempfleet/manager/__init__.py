"""
TempFileManager: the public API.

    manager        every public method
    registration   inspects files, then registers them: one or many
    own_files      which of them this object registered, for the end of its block
    creator        create() and create_dir(): registers a new name, then creates it
    temp_file      what they return: TempFile and TempDirectory
    files          the registered files as a dictionary
    results        the results of registering many files
    shutdown       deletes files at the end of a process
    local_volume   one volume with everything that works on it

Promises: each method is a thin line from a caller's path to one call of a room below. A manager survives a fork and can
be pickled. The end of its ``with`` block deletes only the files that this object registered, and that nobody else
registered, renewed or held. LocalVolume is one volume with its engines, for a manager and for a worker that serves
several volumes.

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
