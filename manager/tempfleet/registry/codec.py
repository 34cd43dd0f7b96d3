"""
The text form of a record in Redis. Its twin in Lua is what the scripts read.

    1 <registered_ms> <deadline_ms> <size_bytes> <identity> <flags> <uid>\\n<tail: JSON or nothing>

Paths are ``str`` in Python, as ``os.fsdecode`` returns them. Any legal file name survives, because surrogates stand for
bytes that are not UTF-8. In Redis they are bytes. The scripts write the first line, because two of its fields are
instants and only Redis knows the time. Of the tail they read the tags alone.
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
"""Stands for a record that was lost or damaged: no file has this identity, so nothing is deleted for it."""


class Row(NamedTuple):
    """
    What scripts/look.lua returns of one path; b"" for what there is not.

    Attributes:
        record: in its text form.
        waiting, leased, held, dead: its score in the set of each state.
        attempts, error, reason: failed attempts, the last error, why it is held.
    """

    record: bytes
    waiting: bytes
    leased: bytes
    held: bytes
    dead: bytes
    attempts: bytes
    error: bytes
    reason: bytes

    @property
    def scores(self) -> tuple[bytes, bytes, bytes, bytes]:
        """In the order of STATE_ORDER."""
        return self.waiting, self.leased, self.held, self.dead

    @property
    def is_known(self) -> bool:
        """Whether the registry has anything of the path."""
        return self.record != b"" or any(self.scores)

    @property
    def is_sound(self) -> bool:
        """Whether it has a record and is in exactly one set (invariant 1)."""
        return self.record != b"" and sum(score != b"" for score in self.scores) == 1


def tag_token(tag: str) -> str:
    """*tag* as the scripts see it: without anything that ends a token or a JSON text."""
    return quote(as_bytes(tag), safe="")


def tag_of(token: str) -> str:
    return as_text(unquote_to_bytes(token))


def as_bytes(words: str) -> bytes:
    """People's words, whatever is in them, as Redis keeps them."""
    return words.encode("utf-8", "surrogatepass")


def as_text(kept: bytes) -> str:
    return kept.decode("utf-8", "surrogatepass")


def pack(file: NewFile) -> tuple[bytes, int, int, int, str, str, int, str]:
    """The ARGV group of scripts/register.lua, in its order."""
    tail = json.dumps({"tags": "".join(f"{tag_token(tag)}," for tag in file.tags)}) if file.tags else ""
    return (
        os.fsencode(file.path), file.ttl_ms, file.age_ms, file.size_bytes,
        file.identity, file.flags or NO_FLAGS, file.uid, tail,
    )  # fmt: skip


def unpack(
    path: bytes,
    packed: bytes,
    *,
    state: State | None = None,
    due_ms: int | None = None,
    attempts: int = 0,
    last_error: str = "",
    hold_reason: str = "",
) -> FileRecord:
    """A record out of the bytes that the scripts keep."""
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
    )


def _tags(tail: bytes) -> tuple[str, ...]:
    """The tags; none where the tail is damaged: the line before it is what deleting goes by."""
    try:
        return tuple(map(tag_of, json.loads(tail)["tags"].split(",")[:-1]))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ()


def unpack_or_broken(path: bytes, packed: bytes, **fields: Any) -> FileRecord:
    """As ``unpack``; one damaged record stops nobody from reading, or cleaning, all others."""
    try:
        return unpack(path, packed, **fields)
    except ValueError:
        return unpack(path, BROKEN_RECORD, **fields)


def record_of(path: str, row: Row) -> FileRecord | None:
    """The record of *path*; None if it has none, or is in no set."""
    state, score = next(
        ((state, score) for state, score in zip(STATE_ORDER, row.scores, strict=True) if score), (None, b"")
    )
    if row.record == b"" or state is None:
        return None
    timed = state in (State.WAITING, State.HELD) and score != b"inf"
    return unpack_or_broken(
        os.fsencode(path),
        row.record,
        state=state,
        due_ms=int(float(score)) if timed else None,
        attempts=int(row.attempts or 0),
        last_error=row.error.decode(),
        hold_reason=as_text(row.reason),
    )


def groups(flat: Sequence[Any], size: int) -> list[Any]:
    """A flat reply in groups of *size*; zip over one iterator, because claims are large."""
    return list(zip(*[iter(flat)] * size, strict=True))
