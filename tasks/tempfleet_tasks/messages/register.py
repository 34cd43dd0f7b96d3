"""
Messages about files: register, renew, unregister. Each works on the host that owns the file (see forwarding.py), and
a message is less trusted than code: it may name only files below TEMP_FILE_MESSAGE_ROOTS.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tempfleet import AlreadyClaimed
from tempfleet.errors import MalformedMessage
from tempfleet.logs import printable
from tempfleet.reconciliation import RECORDED
from tempfleet.records import Flag, NewFile
from tempfleet.registry import Registry
from tempfleet.validation import ttl_ms, validate_tags

from ..runtime import Runtime
from .forwarding import Message, confine, route

LONGEST_PATH_BYTES = 4096
"""PATH_MAX: what is recorded unseen would otherwise be as long as a stranger likes."""


def register(
    runtime: Runtime,
    path: str,
    host: str = "",
    ttl: float | None = None,
    tags: Sequence[str] = (),
) -> dict[str, Any]:
    """
    ``tempfleet.register``: the time to live counts from now, not from when the message was sent.

    Regular files only: a message that could name a directory could have everything below it deleted.
    """
    _check(path, host, ttl, tags)
    life = ttl_ms(runtime.manager.max_age if ttl is None else ttl)

    def here() -> dict[str, Any]:
        file = runtime.manager.inspect(path, ttl=ttl, tags=tags, confined=runtime.settings.confined_roots)
        record = runtime.manager.register_inspected(file)
        return {"path": printable(record.path), "deadline_ms": record.deadline_ms}

    def unseen(registry: Registry) -> dict[str, Any]:
        (done,) = registry.register([_unseen(path, life, tags)])
        registry.count(RECORDED)
        if done.code == "claimed":
            raise AlreadyClaimed.of(path)
        return {"path": printable(path), "deadline_ms": done.deadline_ms, "verified": False}

    message = {"path": path, "host": host, "ttl": ttl, "tags": list(tags)}
    return route(runtime, Message("tempfleet.register", host, (path,), message), here, unseen)


def register_many(
    runtime: Runtime, paths: Sequence[str], host: str = "", ttl: float | None = None, tags: Sequence[str] = ()
) -> dict[str, Any]:
    """``tempfleet.register_many``: all that can be is registered; then the rest is an error."""
    if not isinstance(paths, list | tuple):
        raise MalformedMessage(f"paths is a list of paths, not {type(paths).__name__}.")
    if not paths:
        raise MalformedMessage("paths names no file.")
    for path in paths:
        _check(path, host, ttl, tags)
    life = ttl_ms(runtime.manager.max_age if ttl is None else ttl)

    def here() -> dict[str, Any]:
        records = runtime.manager.register_many(
            paths, ttl=ttl, tags=tags, confined=runtime.settings.confined_roots
        )
        return {"registered": len(records)}

    def unseen(registry: Registry) -> dict[str, Any]:
        done = registry.register([_unseen(path, life, tags) for path in paths])
        registry.count(RECORDED, len(done))
        return {"registered": sum(one.code != "claimed" for one in done), "verified": False}

    message = {"paths": list(paths), "host": host, "ttl": ttl, "tags": list(tags)}
    return route(runtime, Message("tempfleet.register_many", host, tuple(paths), message), here, unseen)


def renew(runtime: Runtime, path: str, host: str = "", ttl: float | None = None) -> dict[str, Any]:
    """``tempfleet.renew``: the deadline moves to *ttl* from now, never earlier."""
    _check(path, host, ttl, ())
    life = ttl_ms(runtime.manager.max_age if ttl is None else ttl)

    def here() -> dict[str, Any]:
        confine(path, runtime.settings)
        return {"deadline_ms": round(runtime.manager.renew(path, ttl=ttl) * 1000)}

    def unseen(registry: Registry) -> dict[str, Any]:
        return {"deadline_ms": registry.renew(path, ttl_ms=life)}

    message = {"path": path, "host": host, "ttl": ttl}
    return route(runtime, Message("tempfleet.renew", host, (path,), message), here, unseen)


def unregister(runtime: Runtime, path: str, host: str = "") -> dict[str, Any]:
    """``tempfleet.unregister``: the file is its user's again."""
    _check(path, host, None, ())

    def here() -> dict[str, Any]:
        confine(path, runtime.settings)
        runtime.manager.unregister(path)
        return {"released": True}

    def unseen(registry: Registry) -> dict[str, Any]:
        return {"released": registry.unregister([path])[path] == "released"}

    return route(
        runtime, Message("tempfleet.unregister", host, (path,), {"path": path, "host": host}), here, unseen
    )


def _unseen(path: str, life_ms: int, tags: Sequence[str]) -> NewFile:
    return NewFile(path, life_ms, flags=Flag.UNVERIFIED.value, tags=tuple(tags))


def _check(path: object, host: object, ttl: object, tags: object) -> None:
    """
    Raises:
        MalformedMessage: an argument is not of its form.
        InvalidTTL, InvalidTag: the time to live, or a tag, is not one.
    """
    if not isinstance(path, str) or not os.path.isabs(path) or "\0" in path:
        raise MalformedMessage(f"path is an absolute path, not {path!r:.200}.")
    try:
        length = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise MalformedMessage(f"path is no file name: {path!r:.200}.") from None
    if length > LONGEST_PATH_BYTES:
        raise MalformedMessage(f"path has {length} bytes; the system's limit is {LONGEST_PATH_BYTES}.")
    if not isinstance(host, str) or not host:
        raise MalformedMessage(
            "host is the name of the host that has the file (its TEMP_FILE_HOST); it must be given."
        )
    if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
        raise MalformedMessage(f"tags is a list of words, not {tags!r:.200}.")
    validate_tags(tags)
    if ttl is not None:
        ttl_ms(ttl)
