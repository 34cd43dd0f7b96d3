"""
A file's compressed form: one Zstandard frame, after a frame of our own that says what it is.

    skippable frame   "tempfleet 1 <size when unpacked> <identity of this very file>\\n"
    Zstandard frame   the content, with a checksum

So a compressed file tells by itself that it is one, without the registry, and only while it is the object that we
wrote: a copy of it elsewhere, somebody's own .zst, a file that was written over are what they look like. ``zstd -d``
reads it too: it skips the first frame.
"""

from __future__ import annotations

import errno
import io
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..errors import CompressionUnavailable
from ..filesystem import Identity, Reader

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LEVEL: Final = 3
"""Zstandard's own default: some hundred MB/s, and most of what there is to save."""

CHUNK: Final = 1 << 20
SYNCED_EVERY: Final = 64 * CHUNK
"""Whoever opens a file while it is compressed waits for the step that is being made: for no long fsync at its end."""

_MAGIC: Final = 0x184D2A5B  # one of the sixteen of RFC 8878, 3.1.2
_HEAD: Final = struct.Struct("<II")
_MOST_TEXT: Final = 1024

Step = Callable[[], None]
"""Called between two chunks; raises to end the work."""


class TooLarge(Exception):
    """The compressed form would be larger than was asked for."""


@dataclass(frozen=True, slots=True)
class Packed:
    """
    What a compressed file says of itself.

    Attributes:
        size_bytes: of the content.
        starts_at: where the content's frame begins.
    """

    identity: str
    size_bytes: int
    starts_at: int


def packed(fd: int, reader: Reader) -> Packed | None:
    """What the file says of itself; None where it is no compressed file of ours."""
    start = os.pread(fd, _HEAD.size + _MOST_TEXT, 0)
    if len(start) < _HEAD.size:
        return None
    magic, length = _HEAD.unpack_from(start)
    fields = start[_HEAD.size : _HEAD.size + length].split()
    if magic != _MAGIC or length > _MOST_TEXT or fields[:2] != [b"tempfleet", b"1"] or len(fields) != 4:
        return None
    own = fields[3].decode("ascii", "replace")
    if not fields[2].isdigit() or not Identity(own).matches(reader.fstat(fd)):
        return None
    return Packed(own, int(fields[2]), _HEAD.size + length)


def pack(source: int, target: int, *, own: str, size_bytes: int, most_bytes: int, step: Step) -> None:
    """
    Write the compressed form of file *source* into the empty file *target*, whose identity is *own*.

    Raises:
        TooLarge: it takes more than *most_bytes*.
        OSError: ESTALE where *source* is not *size_bytes* long any more.
        CompressionUnavailable: the library is not installed.
    """
    stream = _zstandard().ZstdCompressor(level=LEVEL, write_checksum=True).compressobj(size=size_bytes)
    text = f"tempfleet 1 {size_bytes} {own}\n".encode()
    written = _write(target, _HEAD.pack(_MAGIC, len(text)) + text)
    read = 0
    for chunk in chunks(source, step):
        read += len(chunk)
        if read > size_bytes:
            break
        written += _write(target, stream.compress(chunk))
        if written > most_bytes:
            raise TooLarge
        if read % SYNCED_EVERY == 0:
            os.fdatasync(target)
    if read != size_bytes:
        raise OSError(errno.ESTALE, "changed while it was read")
    if written + _write(target, stream.flush()) > most_bytes:
        raise TooLarge


def unpack(source: int, target: int, *, form: Packed, step: Step) -> None:
    """Write the content of the compressed file *source* into *target*; raises as ``Unpacking`` does."""
    with Unpacking(io.FileIO(source, "rb", closefd=False), form) as content:
        while chunk := content.read(CHUNK):
            step()
            _write(target, chunk)


def chunks(source: int, step: Step) -> Iterator[bytes]:
    at = 0
    while chunk := os.pread(source, CHUNK, at):
        step()
        yield chunk
        at += len(chunk)


class Unpacking(io.RawIOBase):
    """
    The content of a compressed file, as a file: for reading, with seek and tell. It closes *file*.

    Going back reads again from the beginning; a stream has no other way.

    Raises:
        OSError: EIO where the file is damaged, or ends early.
    """

    def __init__(self, file: io.FileIO, form: Packed) -> None:
        self._file = file
        self._form = form
        self._zstandard = _zstandard()
        self._wanted = 0
        self._rewind()

    def _rewind(self) -> None:
        self._file.seek(self._form.starts_at)
        self._stream = self._zstandard.ZstdDecompressor().stream_reader(self._file, closefd=False)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._wanted

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._wanted, os.SEEK_END: self._form.size_bytes}[whence]
        if begin + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._wanted = begin + offset
        return self._wanted

    def readinto(self, buffer: WriteableBuffer) -> int:
        if self._wanted < self._at:
            self._rewind()
        while self._at < min(self._wanted, self._form.size_bytes):
            self._at += self._decoded(bytearray(min(CHUNK, self._wanted - self._at)))
        if self._wanted >= self._form.size_bytes:
            self._decoded(bytearray(1), at_end=True)  # the checksum is looked at only now
            return 0
        count = self._decoded(buffer)
        self._at = self._wanted = self._at + count
        return count

    def _decoded(self, buffer: WriteableBuffer, *, at_end: bool = False) -> int:
        try:
            count = int(self._stream.readinto(buffer))
        except self._zstandard.ZstdError as exc:
            raise OSError(errno.EIO, f"the compressed file is damaged: {exc}") from None
        if at_end != (count == 0):
            raise OSError(errno.EIO, "the compressed file does not end where it should")
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _write(fd: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return len(data)


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise CompressionUnavailable from None
    return zstandard
