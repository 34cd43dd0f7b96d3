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
from urllib.parse import quote, unquote_to_bytes

from ..records import NO_FLAGS, FileRecord, NewFile, State


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
