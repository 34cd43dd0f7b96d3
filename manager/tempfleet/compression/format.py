"""
The format of a compressed file: a header of our own, then one Zstandard frame.

    skippable frame   "tempfleet 1 <size of the content> <identity of this file>\\n"
    Zstandard frame   the content, with a checksum

So a compressed file is recognised without the registry, and only while it is the object that we wrote. A copy of it, a
user's own .zst file and a file that was overwritten in place are read as they are. ``zstd -d`` reads the format too,
because it skips the first frame.
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
"""Zstandard's own default: some hundred MB/s, and most of the possible saving."""

CHUNK: Final = 1 << 20
SYNCED_EVERY: Final = 64 * CHUNK
"""A process that opens the file waits for the current step to end. Regular syncs avoid one long fsync at the end."""

_MAGIC: Final = 0x184D2A5B  # one of the sixteen of RFC 8878, 3.1.2
_FRAME: Final = struct.Struct("<II")
_MAX_TEXT: Final = 1024

Step = Callable[[], None]
"""Called between two chunks. It may raise to end the work."""


class TooLarge(Exception):
    """The compressed form is larger than the limit."""


@dataclass(frozen=True, slots=True)
class Header:
    """
    The header of a compressed file.

    Attributes:
        identity: of the compressed file itself.
        size_bytes: of the content.
        content_offset: where the content's frame begins.
    """

    identity: str
    size_bytes: int
    content_offset: int


def read_header(fd: int, reader: Reader) -> Header | None:
    """Returns None if the file is not a compressed file of ours."""
    start = os.pread(fd, _FRAME.size + _MAX_TEXT, 0)
    if len(start) < _FRAME.size:
        return None
    magic, length = _FRAME.unpack_from(start)
    fields = start[_FRAME.size : _FRAME.size + length].split()
    if magic != _MAGIC or length > _MAX_TEXT or fields[:2] != [b"tempfleet", b"1"] or len(fields) != 4:
        return None
    identity = fields[3].decode("ascii", "replace")
    if not fields[2].isdigit() or not Identity(identity).matches(reader.fstat(fd)):
        return None
    return Header(identity, int(fields[2]), _FRAME.size + length)


def write_compressed(
    source: int, target: int, *, identity: str, size_bytes: int, max_bytes: int, step: Step
) -> None:
    """
    Write the compressed form of file *source* into the empty file *target*.

    Args:
        identity: of *target*.
        size_bytes: the expected size of *source*.
        max_bytes: the limit for the compressed form.

    Raises:
        TooLarge: the compressed form needs more than *max_bytes*.
        OSError: ESTALE if *source* does not have *size_bytes* any more.
        CompressionUnavailable: the library is not installed.
    """
    stream = _zstandard().ZstdCompressor(level=LEVEL, write_checksum=True).compressobj(size=size_bytes)
    text = f"tempfleet 1 {size_bytes} {identity}\n".encode()
    written = _write(target, _FRAME.pack(_MAGIC, len(text)) + text)
    read = 0
    for chunk in _chunks(source, step):
        read += len(chunk)
        if read > size_bytes:
            break
        written += _write(target, stream.compress(chunk))
        if written > max_bytes:
            raise TooLarge
        if read % SYNCED_EVERY == 0:
            os.fdatasync(target)
    if read != size_bytes:
        raise OSError(errno.ESTALE, "changed while it was read")
    if written + _write(target, stream.flush()) > max_bytes:
        raise TooLarge


def write_plain(source: int, target: int, header: Header) -> None:
    """Write the content of the compressed file *source* into *target*; raises as ``PlainReader`` does."""
    with PlainReader(io.FileIO(source, "rb", closefd=False), header) as content:
        while chunk := content.read(CHUNK):
            _write(target, chunk)


def _chunks(source: int, step: Step) -> Iterator[bytes]:
    offset = 0
    while chunk := os.pread(source, CHUNK, offset):
        step()
        yield chunk
        offset += len(chunk)


class PlainReader(io.RawIOBase):
    """
    The content of a compressed file, as a file: for reading, with seek and tell. It closes *file*.

    Seeking back reads again from the beginning; a stream has no other way.

    Raises:
        OSError: EIO if the file is damaged, or ends early.
    """

    def __init__(self, file: io.FileIO, header: Header) -> None:
        self._file = file
        self._header = header
        self._zstandard = _zstandard()
        self._position = 0
        self._rewind()

    def _rewind(self) -> None:
        self._file.seek(self._header.content_offset)
        self._stream = self._zstandard.ZstdDecompressor().stream_reader(self._file, closefd=False)
        self._stream_position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._header.size_bytes}
        position = origins[whence] + offset
        if position < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = position
        return position

    def readinto(self, buffer: WriteableBuffer) -> int:
        size = self._header.size_bytes
        if self._position < self._stream_position:
            self._rewind()
        while self._stream_position < min(self._position, size):
            skipped = bytearray(min(CHUNK, self._position - self._stream_position))
            self._stream_position += self._decode(skipped)
        # The library compares the checksum only at the end of the stream.
        if self._position >= size:
            self._decode(bytearray(1), at_end=True)
            return 0
        count = self._decode(buffer)
        self._stream_position = self._position = self._stream_position + count
        return count

    def _decode(self, buffer: WriteableBuffer, *, at_end: bool = False) -> int:
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
