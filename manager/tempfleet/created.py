"""
Files and directories that Tempfleet makes itself. They are registered first and made second.

So a crash in between leaks nothing: the record of a file that never came is forgotten when it falls due. In
between, a clean-up leaves the record alone (MAKING_SECONDS); a maker that was held up for longer registers again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Generic, TypeVar

from .records import FileRecord
from .verdicts import MAKING_SECONDS

Made = TypeVar("Made")
Forget = Callable[[FileRecord], object]


class Created(Generic[Made]):
    """
    What was made for a ``with`` block, or for its time to live. Usable wherever a path is.

    Args:
        register: makes the record; called again where making took so long that it may have been forgotten.
        make: the file or directory itself, by name.
        unmake: takes back both, when making failed at any point.
        delete: deletes it now.
    """

    def __init__(
        self,
        *,
        register: Callable[[], FileRecord],
        make: Callable[[str], Made],
        unmake: Forget,
        delete: Forget,
    ) -> None:
        self._delete = delete
        self._entered_by = 0
        began = time.monotonic()
        self.record = register()
        try:
            self.made = make(os.path.basename(self.record.path))
            if time.monotonic() - began > MAKING_SECONDS / 2:
                self.record = register()
        except BaseException:
            unmake(self.record)
            raise

    @property
    def path(self) -> str:
        return self.record.path

    def __str__(self) -> str:
        return self.record.path

    def __fspath__(self) -> str:
        return self.record.path

    def __enter__(self) -> Any:
        self._entered_by = os.getpid()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (
            self._entered_by == os.getpid()
        ):  # a forked child that falls out of its parent's block deletes nothing
            self._delete(self.record)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"


class TempDirectory(Created[None]):
    """
    A directory that is deleted whole: at the end of its ``with`` block, or when its time to live ends.

    Usable wherever a path is: ``os.path.join(directory, "part.csv")``.
    """


class TempFile(Created[IO[Any]]):
    """
    A file, open for reading and writing, with all methods of a file object.

    ``close()`` leaves it on disk until its time to live ends; leaving a ``with`` block deletes it.
    """

    @property
    def file(self) -> IO[Any]:
        return self.made

    @property
    def name(self) -> str:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.made.close()
        finally:
            super().__exit__(kind, exc, trace)

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "made":  # not open yet
            raise AttributeError(attribute)
        return getattr(self.made, attribute)

    def __iter__(self) -> Any:
        return iter(self.made)
