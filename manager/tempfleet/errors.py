"""
The error tree. Catch by class, never by text.

Each class's docstring is its default message: it says what happened and what to do. What a caller
may want to act on (a path, a reason, a variable) is data on the object.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Self

from .formatting import printable


class TempfleetError(Exception):
    """Tempfleet could not do what it was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.getdoc(type(self)))


class SettingsError(TempfleetError, ValueError):
    """A setting has a value that it cannot have; correct it and start again."""

    def __init__(self, message: str | None = None, *, variable: str = "", value: object = None) -> None:
        super().__init__(message)
        self.variable = variable
        self.value = value


class InvalidTTL(TempfleetError, ValueError):
    """A time to live is a number of seconds above zero, at most 366 days."""

    def __init__(self, message: str | None = None, *, value: object = None) -> None:
        super().__init__(message)
        self.value = value


class InvalidTag(TempfleetError, ValueError):
    """A tag has 1 to 200 characters, and no control characters; nothing was changed."""

    def __init__(self, message: str | None = None, *, value: str = "") -> None:
        super().__init__(message)
        self.value = value


class ReasonTooLong(TempfleetError, ValueError):
    """The reason of a hold has at most 500 characters; say where to read more."""


class PathError(TempfleetError):
    """A path that cannot be managed; *path* and a one-word *reason* are on the error."""

    def __init__(self, message: str | None = None, *, path: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.reason = reason


class UnsafePath(PathError, ValueError):
    """The path is not one that Tempfleet may ever delete; register a regular file below an allowed root."""


class FileMissing(PathError, FileNotFoundError):
    """There is no such file; register a file after it was created, or let create() make it."""


class BatchError(TempfleetError):
    """Some of the files could not be registered; all others were. *records* and *errors* (by path) say which."""

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
    """A limit on temporary files is reached; the file was not registered and stays its caller's."""

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
    """The registry refused; nothing was changed."""

    def __init__(self, message: str | None = None, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class NotRegistered(RegistryError, KeyError):
    """The path is not in the registry; register it first."""

    # KeyError would show the repr.
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


class LeaseLost(RegistryError):
    """The claim ran out and was reaped; another claimer may have the files now. Stop, delete nothing more."""


class SchemaMismatch(RegistryError):
    """The registry was written by another version of Tempfleet; run the version that wrote it."""


class RegistryUnavailable(RegistryError):
    """Redis gave no answer, or takes no writes now; the call may have happened, and repeating it is safe."""


class RegistryDenied(RegistryError):
    """Redis refused the user name or the password, or gives that user too few rights."""


class RegistryFull(RegistryError):
    """Redis has reached its maxmemory: nothing was registered, cleaning goes on."""


class EvictingRedis(SettingsError):
    """This Redis may evict keys, and an evicted record is a leaked file; set maxmemory-policy noeviction."""


class CompressionUnavailable(TempfleetError):
    """The library that compresses is not installed here: pip install 'tempfleet[compression]'."""


class VolumeUnavailable(TempfleetError):
    """This process has not got the volume's directory; nothing was claimed, the records stay."""

    def __init__(self, message: str | None = None, *, base_dir: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.base_dir = base_dir
        self.reason = reason


class PluginFailed(TempfleetError):
    """A plug-in raised, hung or answered nonsense; what it was asked about stays as it is."""

    def __init__(
        self, message: str | None = None, *, plugin: str = "", is_off: bool = False, counts: bool = True
    ) -> None:
        super().__init__(message)
        self.plugin = plugin
        self.is_off = is_off  # it has failed often, and is only tried now and then
        self.counts = counts  # False where it was not even asked


class UnknownHost(TempfleetError):
    """No worker of that host was ever seen; check the name, or start a worker there first."""

    def __init__(self, message: str | None = None, *, host: str = "") -> None:
        super().__init__(message)
        self.host = host


class HostLive(TempfleetError):
    """A worker of that host is live, and would be heard again in a moment; stop it first, or force it."""

    def __init__(self, message: str | None = None, *, host: str = "") -> None:
        super().__init__(message)
        self.host = host


class MalformedMessage(TempfleetError, ValueError):
    """A task message has arguments of the wrong form; nothing was registered or deleted."""


class EmbeddedServerError(TempfleetError):
    """The embedded server could not be started; the message holds the end of its log."""
