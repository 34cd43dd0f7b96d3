"""
The text form of a record in Redis. The scripts have the same format in Lua.

    1 <registered_ms> <deadline_ms> <size_bytes> <identity> <flags> <uid>\\n<tail>

    1              the version of the format
    *_ms           milliseconds since 1970, by the Redis clock
    identity       text without spaces, "-" for none; "<old>+<new>" while the file changes its form: either is right
    flags          letters of Flag, "-" for none
    uid            -1 if unknown
    tail           nothing, or {"tags": "<tag>,<tag>,"}: each tag percent-encoded and followed by a comma

The scripts write the first line, because only Redis knows the time. Of the tail they read only the tags, by a pattern;
so the tail must look exactly as ``json.dumps`` writes it.

Paths are ``str`` in Python, as ``os.fsdecode`` returns them, and bytes in Redis. Any legal file name survives, because
surrogates stand for bytes that are not UTF-8.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from ..records import NO_FLAGS, FileRecord, NewFile, State

STATE_ORDER = (State.WAITING, State.LEASED, State.HELD, State.DEAD)

BROKEN_RECORD = b"1 0 0 0 ? - -1"
"""Replaces a lost or damaged record. No file has this identity, so nothing is deleted because of it."""


class Row(NamedTuple):
    """
    The reply of scripts/read.lua for one path; b"" for values that do not exist.

    Attributes:
        record: in its text form.
        waiting, leased, dead: its score in the set of each state.
        held: when its last keeper ends, if it is in the set of held files.
        attempts, error: failed attempts, the last error.
        keepers, reason: the number of its keepers, the reason of the one that lasts longest.
    """

    record: bytes
    waiting: bytes
    leased: bytes
    held: bytes
    dead: bytes
    attempts: bytes
    error: bytes
    keepers: bytes
    reason: bytes

    @property
    def scores(self) -> tuple[bytes, ...]:
        """In the order of STATE_ORDER."""
        return self[1:5]

    @property
    def is_known(self) -> bool:
        """Whether the path has a record or is in a set."""
        return self.record != b"" or any(self.scores)

    @property
    def is_sound(self) -> bool:
        """Whether the path has a record, is in exactly one set, and has a keeper if it is held (invariant 1)."""
        is_in_one_set = sum(score != b"" for score in self.scores) == 1
        return self.record != b"" and is_in_one_set and (not self.held or int(self.keepers) > 0)

    @property
    def obstacle(self) -> str:
        """Why its record cannot move to another registry, "" if it can."""
        if not self.record:
            return "absent"
        if self.leased:
            return "leased"
        return "" if self.is_sound else "damaged"


def tag_token(tag: str) -> str:
    """*tag* percent-encoded, so that it contains no comma and no quote."""
    return quote(as_bytes(tag), safe="")


def tag_of(token: str) -> str:
    return as_text(unquote_to_bytes(token))


def as_bytes(text: str) -> bytes:
    """Text that people wrote, with any characters, as Redis stores it."""
    return text.encode("utf-8", "surrogatepass")


def as_text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogatepass")


def pack(file: NewFile) -> tuple[bytes, int, int, int, str, str, int, str]:
    """The arguments of scripts/register.lua for one file, in their order."""
    tail = json.dumps({"tags": "".join(f"{tag_token(tag)}," for tag in file.tags)}) if file.tags else ""
    return (
        os.fsencode(file.path),
        file.ttl_ms,
        file.age_ms,
        file.size_bytes,
        file.identity,
        file.flags or NO_FLAGS,
        file.uid,
        tail,
    )


def unpack(
    path: bytes,
    packed: bytes,
    *,
    state: State | None = None,
    due_ms: int | None = None,
    attempts: int = 0,
    last_error: str = "",
    hold_reason: str = "",
    keepers: int = 0,
    slack_ms: int = 0,
) -> FileRecord:
    """
    Read a record from its text form; the other arguments are not in it.

    Raises:
        ValueError: *packed* is damaged.
    """
    header, _, tail = packed.partition(b"\n")
    _version, registered, deadline, size, identity, flags, uid = header.split(b" ")
    return FileRecord(
        path=os.fsdecode(path),
        registered_ms=int(registered),
        deadline_ms=int(deadline),
        size_bytes=int(size),
        identity=identity.decode(),
        flags="" if flags == b"-" else flags.decode(),
        uid=int(uid),
        tags=_tags(tail) if tail else (),
        state=state,
        due_ms=due_ms,
        attempts=attempts,
        last_error=last_error,
        hold_reason=hold_reason,
        keepers=keepers,
        slack_ms=slack_ms,
    )


def _tags(tail: bytes) -> tuple[str, ...]:
    """The tags; none if the tail is damaged, because deletion needs only the first line."""
    try:
        return tuple(map(tag_of, json.loads(tail)["tags"].split(",")[:-1]))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ()


def unpack_or_broken(path: bytes, packed: bytes, **fields: Any) -> FileRecord:
    """As ``unpack``, but a damaged record becomes BROKEN_RECORD, so that all others are still read and cleaned."""
    try:
        return unpack(path, packed, **fields)
    except ValueError:
        return unpack(path, BROKEN_RECORD, **fields)


def record_of(path: str, row: Row, slack_ms: int = 0) -> FileRecord | None:
    """The record of *path*; None if there is none, or if *path* is in no set."""
    state, score = next(
        ((state, score) for state, score in zip(STATE_ORDER, row.scores, strict=True) if score), (None, b"")
    )
    if row.record == b"" or state is None:
        return None
    due_ms = milliseconds(score) if state in (State.WAITING, State.HELD) else None
    return unpack_or_broken(
        os.fsencode(path),
        row.record,
        state=state,
        due_ms=None if due_ms is None else due_ms + slack_ms,
        attempts=int(row.attempts or 0),
        last_error=row.error.decode(),
        hold_reason=as_text(row.reason),
        keepers=int(row.keepers or 0),
        slack_ms=slack_ms,
    )


def waiting_record(path: bytes, score: bytes, packed: bytes, attempts: bytes, *, slack_ms: int) -> FileRecord:
    """The record of a waiting file, from the values of scripts/page.lua."""
    due_ms, state = int(float(score)) + slack_ms, State.WAITING
    return unpack_or_broken(
        path, packed, state=state, due_ms=due_ms, attempts=int(attempts), slack_ms=slack_ms
    )


def milliseconds(score: bytes) -> int | None:
    """A score as a point in time; None for infinity, and for none."""
    return None if score in (b"", b"inf", b"+inf") else int(float(score))


def optional(ms: int | None) -> int | str:
    """A time as scripts take it."""
    return "" if ms is None else ms


def groups(flat: Sequence[Any], size: int) -> list[Any]:
    """A flat reply in groups of *size*. It zips over one iterator, because claims are large."""
    return list(zip(*[iter(flat)] * size, strict=True))
