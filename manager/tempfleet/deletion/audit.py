"""
The audit log: one line of JSON for each file that was decided on.

On by default in the base directory's private directory, where it turns over at 10 MiB and two older ones
are kept. A path in ``TEMP_FILE_AUDIT_LOG`` is appended to and never turned over: then it is the host's
business.

Lines are gathered and written with one ``write`` to a descriptor in append mode, so lines of several
processes never mix. Everything is ASCII, control characters and foreign bytes as JSON escapes: no file name
can forge a line. Where the log cannot be written (a full disk above all), cleaning goes on and a warning says
so, once until it can be again. A named log in a directory that is not there never could, so it stops the start.
"""

from __future__ import annotations

import fcntl
import os
import time
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path

from ..errors import SettingsError
from ..filesystem import PrivateDirectory, Use, in_words, name_of, private_name
from ..logs import logger, printable
from ..records import Deletion

NAME = "audit.log"
_TURN_OVER_BYTES = 10 << 20
_OLDER = 2
_LINES_A_WRITE = 1000


def usual_path(base_dir: str) -> str:
    """Where the log is if nobody said so, and no stranger took the private directory's first name."""
    return os.path.join(base_dir, private_name(), NAME)


def check_place(path: str) -> None:
    """
    Raises:
        SettingsError: the directory of the log that TEMP_FILE_AUDIT_LOG names is not there.
    """
    if path and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise SettingsError(
            f"TEMP_FILE_AUDIT_LOG={path!r}: cannot be written: its directory is not there",
            variable="TEMP_FILE_AUDIT_LOG",
            value=path,
        )


class AuditLog:
    """Where the lines go; opened anew for each write, so that a turn-over by another process is noticed."""

    def __init__(self, path: str, private: PrivateDirectory) -> None:
        self._path = path
        self._private = private
        self._warned = False

    @property
    def where(self) -> str:
        """Its path, or what that would be."""
        if self._path:
            return self._path
        at = self._private.path
        return os.path.join(at, NAME) if self._private.name else usual_path(os.path.dirname(at))

    def write(self, text: str) -> None:
        try:
            fd = self._open()
            try:
                os.write(fd, text.encode("ascii"))
            finally:
                os.close(fd)
            self._warned = False
        except OSError as exc:
            if not self._warned:
                logger.warning(
                    "The audit log %s cannot be written (%s): what is decided goes on, without its lines. Let this "
                    "user write there, or name another file in TEMP_FILE_AUDIT_LOG.",
                    printable(self.where), in_words(name_of(exc)),
                )  # fmt: skip
            self._warned = True

    def _open(self) -> int:
        # Non-blocking: a FIFO that somebody put there would keep us waiting for its reader.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        if self._path:
            return os.open(Path(self._path), flags, 0o600)
        at = self._private.open()
        fd = os.open(NAME, flags, 0o600, dir_fd=at)
        try:
            if os.fstat(fd).st_size < _TURN_OVER_BYTES:
                return fd
            _turn_over(at, fd)
            anew = os.open(NAME, flags, 0o600, dir_fd=at)
        except OSError as exc:  # a full disk may have no room for another name; there is always this log
            logger.warning("the audit log cannot be turned over: %s", name_of(exc))
            return fd
        os.close(fd)
        return anew


def _turn_over(at: int, fd: int) -> None:
    """audit.log becomes audit.log.1 and so on, by one process only; the others go on with what they have."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(NAME, dir_fd=at).st_ino != os.fstat(fd).st_ino:
            return
        for n in range(_OLDER, 0, -1):
            old = f"{NAME}.{n - 1}" if n > 1 else NAME
            try:
                os.rename(old, f"{NAME}.{n}", src_dir_fd=at, dst_dir_fd=at)
            except FileNotFoundError:
                pass
    except BlockingIOError:
        return


class AuditLines:
    """The lines of one ``delete`` call."""

    def __init__(self, log: AuditLog, host: str, token: int) -> None:
        self._log = log
        self._lines: list[str] = []
        self._same = f'"host":{quoted(host)},"token":{token},"path":'

    def add(self, deletion: Deletion, use: Use) -> None:
        record, outcome, way, freed, reason = deletion
        now_ms = time.time_ns() // 1_000_000
        # _value_ is the attribute behind value, at a fifth of its price; the words in it need no quotes of JSON.
        self._lines.append(
            f'{{"at_ms":{now_ms},{self._same}{quoted(record.path)},"outcome":"{outcome._value_}","way":"'
            f'{way._value_ if way else "-"}","reason":"{reason}","identity":{quoted(record.identity)},'
            f'"freed_bytes":{freed},"lag_ms":{now_ms - record.deadline_ms},"in_use":"{use._value_}"}}\n'
        )
        if len(self._lines) >= _LINES_A_WRITE:
            self.flush()

    def flush(self) -> None:
        if self._lines:
            self._log.write("".join(self._lines))
            self._lines.clear()
