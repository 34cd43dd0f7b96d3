"""
The audit log: one line of JSON for each decision about a file, and for each hold that somebody else ended.

By default it is in the private directory of the base directory, where it is rotated at 10 MiB and two older logs are
kept. A file named in ``TEMP_FILE_AUDIT_LOG`` is appended to and never rotated; the host has to do that.

Lines are collected and written with one ``write`` to a descriptor in append mode, so lines of several processes never
mix. Everything is ASCII, with control characters and foreign bytes as JSON escapes, so no file name can forge a line.
If the log cannot be written (usually a full disk, or one that hangs), cleaning goes on. A warning reports that once,
until it can be written again. A named log whose directory does not exist could never be written, so it stops the start.
"""

from __future__ import annotations

import fcntl
import os
import time
from functools import partial
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path

from ..errors import SettingsError, VolumeUnavailable
from ..filesystem import LOOK_SECONDS, Root, Use, bounded_at, close, in_words, name_of, private_name
from ..logs import logger, printable
from ..records import Deletion

NAME = "audit.log"
_ROTATE_BYTES = 10 << 20
_OLDER_LOGS = 2
_LINES_A_WRITE = 1000


def usual_path(base_dir: str) -> str:
    """The default path of the log, unless a stranger has taken the first name of the private directory."""
    return os.path.join(base_dir, private_name(), NAME)


def check_place(path: str) -> None:
    """
    Raises:
        SettingsError: the directory of the log named in TEMP_FILE_AUDIT_LOG does not exist.
    """
    if not path:
        return
    directory = _directory_of(path)
    calls = bounded_at(directory)
    try:
        exists = calls.finish(calls.begin(lambda: os.path.isdir(directory)), LOOK_SECONDS)
    except VolumeUnavailable:
        return  # cleaning goes on without audit lines until it answers
    if not exists:
        raise SettingsError(
            f"TEMP_FILE_AUDIT_LOG={path!r}: cannot be written: its directory does not exist",
            variable="TEMP_FILE_AUDIT_LOG",
            value=path,
        )


def _directory_of(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))


class AuditLog:
    """The log file. It is opened again for each write, to follow a rotation by another process."""

    def __init__(self, path: str, root: Root) -> None:
        self._path = path
        self._private = root.private
        self._calls = bounded_at(_directory_of(path)) if path else root.calls
        self._warned = False

    @property
    def where(self) -> str:
        """Its path, or the path that it would have."""
        if self._path:
            return self._path
        at = self._private.path
        return os.path.join(at, NAME) if self._private.name else usual_path(os.path.dirname(at))

    def write(self, text: str) -> None:
        try:
            self._calls.ask(partial(self._append, text))
            self._warned = False
        except (OSError, VolumeUnavailable) as exc:
            if not self._warned:
                logger.warning(
                    "The audit log %s cannot be written (%s). Cleaning goes on without audit lines. Let this "
                    "user write there, or set TEMP_FILE_AUDIT_LOG to another file.",
                    printable(self.where),
                    in_words(name_of(exc) if isinstance(exc, OSError) else exc.reason),
                )
            self._warned = True

    def _append(self, text: str) -> None:
        fd = self._open()
        try:
            os.write(fd, text.encode("ascii"))
        finally:
            os.close(fd)

    def _open(self) -> int:
        # Non-blocking: a FIFO in its place would make us wait for a reader.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        if self._path:
            return os.open(Path(self._path), flags, 0o600)
        at = self._private.open()
        fd = os.open(NAME, flags, 0o600, dir_fd=at)
        try:
            if os.fstat(fd).st_size < _ROTATE_BYTES:
                return fd
            _rotate(at, fd)
            new_fd = os.open(NAME, flags, 0o600, dir_fd=at)
        except OSError as exc:  # a full disk may have no room for another name; this log is there
            logger.warning("the audit log cannot be rotated: %s", name_of(exc))
            return fd
        except BaseException:
            close(fd)
            raise
        close(fd)
        return new_fd


def _rotate(at: int, fd: int) -> None:
    """Rename audit.log to audit.log.1 and so on; one process does that, the others go on with their open log."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    try:
        if os.stat(NAME, dir_fd=at).st_ino != os.fstat(fd).st_ino:
            return
        for n in range(_OLDER_LOGS, 0, -1):
            old = f"{NAME}.{n - 1}" if n > 1 else NAME
            try:
                os.rename(old, f"{NAME}.{n}", src_dir_fd=at, dst_dir_fd=at)
            except FileNotFoundError:
                pass
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)  # a forked child may have a copy of fd


def unheld_line(host: str, path: str, name: str, by: str) -> str:
    """The line for the hold *name*, which *by* ended by force."""
    now_ms = time.time_ns() // 1_000_000
    return (
        f'{{"at_ms":{now_ms},"host":{quoted(host)},"path":{quoted(path)},"outcome":"unheld",'
        f'"hold":{quoted(name)},"by":{quoted(by)}}}\n'
    )


class AuditLines:
    """The lines of one ``delete`` call."""

    def __init__(self, log: AuditLog, host: str, token: int) -> None:
        self._log = log
        self._lines: list[str] = []
        self._same = f'"host":{quoted(host)},"token":{token},"path":'

    def add(self, deletion: Deletion, use: Use) -> None:
        record, outcome, way, freed, reason, _, obstacle = deletion
        inside = f',"inside":{quoted(obstacle.path)}' if obstacle else ""
        now_ms = time.time_ns() // 1_000_000
        # _value_ is the attribute behind value, at a fifth of its price; the words in it need no quotes of JSON.
        self._lines.append(
            f'{{"at_ms":{now_ms},{self._same}{quoted(record.path)},"outcome":"{outcome._value_}","way":"'
            f'{way._value_ if way else "-"}","reason":"{reason}","identity":{quoted(record.identity)},'
            f'"freed_bytes":{freed},"lag_ms":{now_ms - record.deadline_ms},"in_use":"{use._value_}"{inside}}}\n'
        )
        if len(self._lines) >= _LINES_A_WRITE:
            self.flush()

    def flush(self) -> None:
        if self._lines:
            self._log.write("".join(self._lines))
            self._lines.clear()
