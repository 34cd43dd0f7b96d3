"""
The messages about single files: register, renew, unregister.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tempfleet import AlreadyClaimed, BatchError, FileHeld, NotRegistered, TempfleetError
from tempfleet.errors import MalformedMessage
from tempfleet.logs import printable
from tempfleet.reconciliation import UNVERIFIED
from tempfleet.records import Flag, NewFile
from tempfleet.registry import Registration

from ..runtime import Runtime
from .file_message import Answer, FileMessage, check_life, life_ms
from .forwarding import confine, registry_of_silent


@dataclass(frozen=True)
class Register(FileMessage):
    """
    Registers one file. Its time to live starts when a worker receives the message, not when it was sent.

    Regular files only, because everything below a directory that a message names would be deleted with it.
    """

    task = "tempfleet.register"

    path: str
    host: str = ""
    ttl: float | None = None
    tags: Sequence[str] = ()

    def named_paths(self) -> Sequence[str]:
        return (self.path,)

    def check(self) -> None:
        super().check()
        check_life(self.ttl, self.tags)

    def here(self, runtime: Runtime) -> Answer:
        confined = runtime.settings.confined_roots
        file = runtime.manager.inspect(self.path, ttl=self.ttl, tags=self.tags, confined=confined)
        record = runtime.manager.register_inspected(file)
        return {"path": printable(record.path), "deadline_ms": record.deadline_ms}

    def unverified(self, runtime: Runtime) -> Answer:
        registry = registry_of_silent(runtime, self.host, (self.path,))
        file = _unverified_file(self.path, life_ms(self.ttl, runtime.settings), self.tags)
        (registration,) = registry.register([file])
        registry.observe({UNVERIFIED: 1})
        registration.check()
        return {"path": printable(self.path), "deadline_ms": registration.deadline_ms, "verified": False}


@dataclass(frozen=True)
class RegisterMany(FileMessage):
    """Registers many files. If some of them cannot be registered, the others are, and the task raises an error."""

    task = "tempfleet.register_many"

    paths: Sequence[str]
    host: str = ""
    ttl: float | None = None
    tags: Sequence[str] = ()

    def named_paths(self) -> Sequence[str]:
        return self.paths

    def check(self) -> None:
        if not isinstance(self.paths, list | tuple):
            raise MalformedMessage(f"paths must be a list of paths, not {type(self.paths).__name__}.")
        if not self.paths:
            raise MalformedMessage("paths names no file.")
        super().check()
        check_life(self.ttl, self.tags)

    def here(self, runtime: Runtime) -> Answer:
        confined = runtime.settings.confined_roots
        records = runtime.manager.register_many(self.paths, ttl=self.ttl, tags=self.tags, confined=confined)
        return {"registered": len(records)}

    def unverified(self, runtime: Runtime) -> Answer:
        registry, life = (
            registry_of_silent(runtime, self.host, self.paths),
            life_ms(self.ttl, runtime.settings),
        )
        registrations = registry.register([_unverified_file(path, life, self.tags) for path in self.paths])
        registry.observe({UNVERIFIED: len(registrations)})
        errors = dict(filter(None, map(_refusal, registrations)))
        if errors:
            records = [registration.record for registration in registrations if registration.is_accepted]
            raise BatchError(records=records, errors=errors)
        return {"registered": len(registrations), "verified": False}


@dataclass(frozen=True)
class Renew(FileMessage):
    """Moves the deadline of a registered file to *ttl* from now, never earlier than it is."""

    task = "tempfleet.renew"

    path: str
    host: str = ""
    ttl: float | None = None

    def named_paths(self) -> Sequence[str]:
        return (self.path,)

    def check(self) -> None:
        super().check()
        check_life(self.ttl)

    def here(self, runtime: Runtime) -> Answer:
        confine(self.path, runtime.settings)
        return {"deadline_ms": round(runtime.manager.renew(self.path, ttl=self.ttl) * 1000)}

    def unverified(self, runtime: Runtime) -> Answer:
        registry = registry_of_silent(runtime, self.host, (self.path,))
        return {"deadline_ms": registry.renew(self.path, ttl_ms=life_ms(self.ttl, runtime.settings))}


@dataclass(frozen=True)
class Unregister(FileMessage):
    """Drops the record of a file; the file stays. Refused for a held file, because no message ends a hold."""

    task = "tempfleet.unregister"

    path: str
    host: str = ""

    def named_paths(self) -> Sequence[str]:
        return (self.path,)

    def here(self, runtime: Runtime) -> Answer:
        confine(self.path, runtime.settings)
        runtime.manager.unregister(self.path, with_held=False)
        return {"released": True}

    def unverified(self, runtime: Runtime) -> Answer:
        registry = registry_of_silent(runtime, self.host, (self.path,))
        code = registry.unregister([self.path], with_held=False)[self.path]
        if code == "absent":
            raise NotRegistered.of(self.path, registry.volume.in_words)
        if code == "held":
            raise FileHeld.of(self.path)
        if code != "released":
            raise AlreadyClaimed.of(self.path, compressing=code == "compressed")
        return {"released": True}


def _refusal(registration: Registration) -> tuple[str, TempfleetError] | None:
    """Returns the path and the error of a registration that was refused; None for an accepted one."""
    try:
        registration.check()
    except TempfleetError as exc:
        return registration.file.path, exc
    return None


def _unverified_file(path: str, life_ms: int, tags: Sequence[str]) -> NewFile:
    return NewFile(path, life_ms, flags=Flag.UNVERIFIED.value, tags=tuple(tags))
