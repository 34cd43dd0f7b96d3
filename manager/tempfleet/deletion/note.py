"""
What is written beside the files of a private directory, so that a crash, or a Redis that lost its data, loses no file.

A note names the registry that has the records, and describes one or more of its files. A journal (``journal``) is the
note of one batch. A file that stays longer than its batch, in quarantine, has a note of its own (``companion``).

    host NUL base_dir NUL namespace NUL redis NUL epoch NUL
    path NUL identity NUL flags NUL uid NUL deadline_ms NUL tags as JSON NUL        for each file

For people: ``tr '\\0' '\\n' <file`` prints it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import NamedTuple

from ..filesystem import close
from ..records import FileRecord
from .promises import Owner

_OWNER_FIELDS = len(Owner._fields)
_FILE_FIELDS = 6


class Note(NamedTuple):
    """
    A note, as it was read.

    Attributes:
        files: as they were when it was written. In a companion the deadline is the end of the quarantine.
    """

    owner: Owner
    files: list[FileRecord]


def text_of(owner: Owner, files: Sequence[FileRecord]) -> bytes:
    return os.fsencode("".join(f"{field}\0" for field in owner) + lines_of(files))


def lines_of(files: Sequence[FileRecord]) -> str:
    # In one expression: a call for each file of a batch would cost a percent of its deletion.
    return "".join(
        [
            f"{file.path}\0{file.identity}\0{file.flags}\0{file.uid}\0{file.deadline_ms}\0"
            f"{json.dumps(file.tags) if file.tags else ''}\0"
            for file in files
        ]
    )


def read_note(private: int, name: str) -> Note | None:
    """Returns None if it is gone or damaged. A note that a crash cut off is valid up to there."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=private)
    except FileNotFoundError:
        return None
    try:
        return read_open_note(fd)
    finally:
        close(fd)


def read_open_note(fd: int) -> Note | None:
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    fields = os.fsdecode(b"".join(parts)).split("\0")[:-1]
    try:
        owner = Owner(*fields[:_OWNER_FIELDS])
        starts = range(_OWNER_FIELDS, len(fields) - _FILE_FIELDS + 1, _FILE_FIELDS)
        return Note(owner, [_parse(fields[start : start + _FILE_FIELDS]) for start in starts])
    except (ValueError, TypeError):
        return None


def _parse(fields: Sequence[str]) -> FileRecord:
    path, identity, flags, uid, deadline_ms, tags = fields
    return FileRecord(
        path,
        0,
        int(deadline_ms),
        identity=identity,
        flags=flags,
        uid=int(uid),
        tags=tuple(json.loads(tags)) if tags else (),
    )
