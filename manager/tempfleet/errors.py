"""
The error tree. Catch errors by class, never by text.

The docstring of each class is its default message: what happened, and what to do. Data that a caller may need (a path,
a reason, a variable) are attributes. Errors that occur often have class methods that build message and attributes.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Self

from .formatting import printable


class TempfleetError(Exception):
    """Tempfleet could not carry out the call."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.getdoc(type(self)))


class SettingsError(TempfleetError, ValueError):
    """A setting has an invalid value; correct it and start again."""

    def __init__(self, message: str | None = None, *, variable: str = "", value: object = None) -> None:
        super().__init__(message)
        self.variable = variable
        self.value = value


class InvalidTTL(TempfleetError, ValueError):
    """A time to live must be a number of seconds above zero, at most 366 days."""

    def __init__(self, message: str | None = None, *, value: object = None) -> None:
        super().__init__(message)
        self.value = value


class InvalidTag(TempfleetError, ValueError):
    """A tag must have 1 to 200 characters and no control characters; nothing was changed."""

    def __init__(self, message: str | None = None, *, value: str = "") -> None:
        super().__init__(message)
        self.value = value


class TooManyTags(InvalidTag):
    """A file has at most 32 tags, with those of earlier registrations; nothing was changed."""

    @classmethod
    def of(cls, path: str) -> Self:
        return cls(f"{printable(path)}: {cls.__doc__}", value=path)


class InvalidOwner(TempfleetError, ValueError):
    """An owner must be a user name, a uid or "any"; nothing was changed."""

    def __init__(self, message: str | None = None, *, value: object = None) -> None:
        super().__init__(message)
        self.value = value


class ReasonTooLong(TempfleetError, ValueError):
    """The reason of a hold must have at most 500 characters; name a place with the details instead."""


class InvalidHoldName(TempfleetError, ValueError):
    """The name of a hold must have 1 to 200 characters and no control characters; nothing was changed."""

    def __init__(self, message: str | None = None, *, value: str = "") -> None:
        super().__init__(message)
        self.value = value


class PathError(TempfleetError):
    """Tempfleet cannot manage a path; the error has it as *path*, and a one-word *reason*."""

    def __init__(self, message: str | None = None, *, path: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.reason = reason


class UnsafePath(PathError, ValueError):
    """Tempfleet must never delete this path; register a regular file below an allowed root."""


class FileMissing(PathError, FileNotFoundError):
    """There is no such file; register a file after creating it, or let create() create it."""

    @classmethod
    def of(cls, path: str, reason: str = "missing") -> Self:
        return cls(f"{printable(path)}: {cls.__doc__}", path=path, reason=reason)


class FileHeld(PathError):
    """The file is held; nothing was changed. tempfleet explain shows who holds it."""

    @classmethod
    def of(cls, path: str) -> Self:
        return cls(f"{printable(path)}: {cls.__doc__}", path=path, reason="held")


class BatchError(TempfleetError):
    """Some files could not be registered; all others were. *records* and *errors* (by path) list them."""

    def __init__(
        self,
        message: str | None = None,
        *,
        records: Sequence[Any] = (),
        errors: Mapping[str, TempfleetError] | None = None,
    ) -> None:
        self.records = list(records)
        self.errors = dict(errors or {})
        first = next(iter(self.errors.values()), None)
        plural = "" if len(self.errors) == 1 else "s"
        super().__init__(
            message
            or f"{len(self.errors)} file{plural} could not be registered, {len(self.records)} could. The first: {first}"
        )


class QuotaExceeded(TempfleetError):
    """A limit on temporary files is reached; the file was not registered and stays."""

    def __init__(
        self,
        message: str | None = None,
        *,
        path: str = "",
        variable: str = "",
        most: int = 0,
        tag: str = "",
    ) -> None:
        super().__init__(message)
        self.path = path
        self.variable = variable
        self.most = most
        self.tag = tag


class RegistryError(TempfleetError):
    """The registry refused the call; nothing was changed."""

    def __init__(self, message: str | None = None, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class NotRegistered(RegistryError, KeyError):
    """The path is not in the registry; register it first."""

    # KeyError would return the repr.
    def __str__(self) -> str:
        return str(self.args[0])

    @classmethod
    def of(cls, path: str, where: str) -> Self:
        """*where* names the volume, as ``Volume.in_words`` does."""
        return cls(f"{printable(path)} is not registered {where}.", path=path)

    @classmethod
    def as_dead_letter(cls, path: str) -> Self:
        """*path* may be registered, but it is not a dead letter."""
        return cls(f"{printable(path)} is not a dead letter.", path=path)


class AlreadyClaimed(RegistryError):
    """The file is being deleted at this moment; write to a new path, or try again in a moment."""

    @classmethod
    def of(cls, path: str, *, compressing: bool = False) -> Self:
        """With *compressing*, a worker is compressing the file instead of deleting it."""
        work = "compressed at this moment; try again" if compressing else "deleted at this moment"
        return cls(f"{printable(path)} is being {work}.", path=path)


class HeldByAnother(RegistryError):
    """Another one holds the file; only force ends that hold. Nothing was changed."""

    def __init__(self, message: str | None = None, *, path: str = "", name: str = "") -> None:
        super().__init__(message, path=path)
        self.name = name

    @classmethod
    def of(cls, path: str, name: str, own: str) -> Self:
        return cls(
            f"The hold {printable(name)} of {printable(path)} is not yours ({printable(own)}): only force ends it.",
            path=path,
            name=name,
        )


class LeaseLost(RegistryError):
    """The claim expired and was reaped; another claimer may have its files now. Stop, and delete nothing more."""


class SchemaMismatch(RegistryError):
    """Another version of Tempfleet wrote this registry; run that version, or tempfleet upgrade if it is older."""


class RegistryUnavailable(RegistryError):
    """Redis gave no answer, or accepts no writes now; the call may have taken effect, and repeating it is safe."""


class RegistryDenied(RegistryError):
    """Redis refused the user name or the password, or the user has too few rights."""


class RegistryFull(RegistryError):
    """Redis has reached its maxmemory: nothing was registered; clean-ups continue."""


class EvictingRedis(SettingsError):
    """This Redis may evict keys, and an evicted record is a leaked file; set maxmemory-policy noeviction."""


class CompressionUnavailable(TempfleetError):
    """The compression library is not installed: pip install 'tempfleet[compression]'."""


class VolumeUnavailable(TempfleetError):
    """The volume's directory is not available to this process. No file was claimed and no record was changed."""

    def __init__(self, message: str | None = None, *, base_dir: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.base_dir = base_dir
        self.reason = reason


class ManagerClosed(VolumeUnavailable, RegistryError):
    """The manager was closed. What was claimed is handed back; create another manager to go on."""

    def __init__(self, message: str | None = None, *, base_dir: str = "") -> None:
        super().__init__(message, base_dir=base_dir, reason="closed")
        self.path = ""

    @classmethod
    def of(cls, base_dir: str) -> Self:
        return cls(f"{printable(base_dir)}: {cls.__doc__}", base_dir=base_dir)


class PluginFailed(TempfleetError):
    """A plug-in raised an error, hung, or returned an invalid answer; the files that it was asked about stay."""

    def __init__(
        self, message: str | None = None, *, plugin: str = "", is_off: bool = False, counts: bool = True
    ) -> None:
        super().__init__(message)
        self.plugin = plugin
        # The circuit breaker has switched it off, after repeated failures.
        self.is_off = is_off
        # False if the plug-in was not called at all.
        self.counts = counts


class UnknownHost(TempfleetError):
    """No worker of that host was ever seen; check the name, or start a worker there first."""

    def __init__(self, message: str | None = None, *, host: str = "") -> None:
        super().__init__(message)
        self.host = host


class HostLive(TempfleetError):
    """A worker of that host is live; stop it first, or use force."""

    def __init__(self, message: str | None = None, *, host: str = "") -> None:
        super().__init__(message)
        self.host = host


class MalformedMessage(TempfleetError, ValueError):
    """A task message has invalid arguments; nothing was registered or deleted."""


class EmbeddedServerError(TempfleetError):
    """The embedded server could not start; the message contains the end of its log."""
