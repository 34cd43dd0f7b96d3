"""
Files and directories that Tempfleet creates. They are registered first and created second.

A crash in between leaks nothing: the record is dropped when it expires and there is no file. In between, a clean-up
leaves the record alone (CREATION_SECONDS). If creating takes longer, the file is registered again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, AnyStr, Generic, Self, TypeVar

from ..cleanup import CREATION_SECONDS, boot_seconds
from ..logs import logger, printable
from ..records import FileRecord

Made = TypeVar("Made")
Forget = Callable[[FileRecord], object]


def or_when_it_expires(delete: Callable[[], object], what: str) -> None:
    """
    Delete something at the end of a block. If that fails it is logged, and the file is deleted when it expires: an
    error would replace the exception that ended the block.
    """
    try:
        delete()
    except Exception as exc:  # noqa: BLE001 - Python that ends raises ImportError and others, too
        logger.warning("%s is left until it expires: %s", printable(what), exc)


class Created(Generic[Made]):
    """
    A file or directory that lives for a ``with`` block, or for its time to live. Usable as a path.

    Leaving the block raises nothing of ours. If the file cannot be deleted then, for example because Redis does not
    answer, that is logged, and the file is deleted when it expires.

    Args:
        register: creates the record of this object. Called again if creating took so long that a clean-up may have
            dropped the record.
        make: creates the file or directory, by name.
        identify: stores its identity in the record, if it needs one; returns the record.
        unmake: removes both if creating failed at any point.
        delete: deletes the file or directory now.
    """

    def __init__(
        self,
        *,
        register: Callable[[Self], FileRecord],
        make: Callable[[str], Made],
        identify: Callable[[FileRecord], FileRecord],
        unmake: Forget,
        delete: Forget,
    ) -> None:
        self._delete = delete
        self._entered_by = self._registered_by = 0
        began = boot_seconds()
        self.record = register(self)
        self._registered_by = os.getpid()
        try:
            self.made = make(os.path.basename(self.record.path))
            if boot_seconds() - began > CREATION_SECONDS / 2:
                self.record = register(self)
            self.record = identify(self.record)
        except BaseException:
            or_when_it_expires(lambda: unmake(self.record), self.path)
            raise

    @property
    def path(self) -> str:
        return self.record.path

    @property
    def own_ms(self) -> int | None:
        """``registered_ms`` of the last registration; None in a forked child, which is another registrant."""
        return self.record.registered_ms if self._registered_by == os.getpid() else None

    def __str__(self) -> str:
        return self.record.path

    def __fspath__(self) -> str:
        return self.record.path

    def __enter__(self) -> Self:
        self._entered_by = os.getpid()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A forked child that leaves its parent's block deletes nothing.
        if self._entered_by == os.getpid():
            or_when_it_expires(lambda: self._delete(self.record), self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"


class TempDirectory(Created[None]):
    """
    A directory that is deleted with its content: at the end of its ``with`` block, or when it expires.

    Usable as a path: ``os.path.join(directory, "part.csv")``.
    """


class TempFile(Created[IO[AnyStr]], Generic[AnyStr]):
    """
    A file, open for reading and writing, with all methods of a file object.

    ``close()`` leaves it on disk until it expires; the end of a ``with`` block deletes it.

    Args:
        measured: called by ``close`` with the size of the file (bytes); until then the registry has no size.
    """

    def __init__(self, *, measured: Callable[[FileRecord, int], object], **made: Any) -> None:
        self._measured = measured
        super().__init__(**made)

    def close(self) -> None:
        """Close the file; its size counts from now on. Raises as ``close`` of any file."""
        if self.made.closed:
            return
        try:
            self.made.flush()
            size_bytes = os.fstat(self.made.fileno()).st_size
        finally:
            self.made.close()
        self._measured(self.record, size_bytes)

    @property
    def file(self) -> IO[AnyStr]:
        return self.made

    @property
    def name(self) -> str:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.made.close()
        except OSError as error:
            if exc is None:
                raise
            logger.warning("Closing %s failed: %s", printable(self.path), error)
        finally:
            super().__exit__(kind, exc, trace)

    def __iter__(self) -> Iterator[AnyStr]:
        return iter(self.made)

    # The attributes of __getattr__, for editors and type checkers.
    if TYPE_CHECKING:
        closed: bool

        def fileno(self) -> int: ...
        def flush(self) -> None: ...
        def read(self, size: int = -1, /) -> AnyStr: ...
        def readline(self, size: int = -1, /) -> AnyStr: ...
        def readlines(self, hint: int = -1, /) -> list[AnyStr]: ...
        def seek(self, offset: int, whence: int = 0, /) -> int: ...
        def tell(self) -> int: ...
        def truncate(self, size: int | None = None, /) -> int: ...
        def write(self, content: AnyStr, /) -> int: ...
        def writelines(self, lines: Iterable[AnyStr], /) -> None: ...
    else:

        def __getattr__(self, attribute):
            # Not open yet.
            if attribute == "made":
                raise AttributeError(attribute)
            return getattr(self.made, attribute)
