"""
Files and directories that Tempfleet makes itself. They are registered first and made second.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Protocol

from .records import FileRecord


class Discard(Protocol):
    """Deletes files now, or (never_made) takes back the records of files that were never made."""

    def __call__(self, paths: list[str], *, never_made: bool = False) -> None: ...


class TempDirectory:
    """
    A directory that is deleted whole: at the end of its ``with`` block, or when its time to live ends.

    Usable wherever a path is: ``os.path.join(directory, "part.csv")``.
    """

    def __init__(self, record: FileRecord, make: Callable[[str], Any], discard: Discard) -> None:
        self.record = record
        self._discard = discard
        try:
            self._made = make(os.path.basename(record.path))
        except BaseException:
            discard([record.path], never_made=True)
            raise

    @property
    def path(self) -> str:
        return self.record.path

    def __fspath__(self) -> str:
        return self.record.path

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard([self.path])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"


class TempFile(TempDirectory):
    """
    A file, open for reading and writing, with all methods of a file object.

    ``close()`` leaves it on disk until its time to live ends; leaving a ``with`` block deletes it.
    """

    def __init__(
        self,
        record: FileRecord,
        make: Callable[[str], int],
        discard: Discard,
        *,
        mode: str = "w+b",
        encoding: str | None = None,
    ) -> None:
        super().__init__(record, make, discard)
        self.file: IO[Any] = os.fdopen(self._made, mode, encoding=encoding)

    @property
    def name(self) -> str:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.file.close()
        finally:
            super().__exit__(kind, exc, trace)

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "file":  # not open yet
            raise AttributeError(attribute)
        return getattr(self.file, attribute)

    def __iter__(self) -> Any:
        return iter(self.file)
