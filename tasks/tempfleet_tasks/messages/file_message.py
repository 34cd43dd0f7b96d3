"""
A message about files of one host: its arguments, the checks of them, and what it does.

Anybody who reaches the broker can send one. So each argument is checked, and only files below TEMP_FILE_MESSAGE_ROOTS
are accepted.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

from tempfleet import Settings
from tempfleet.errors import MalformedMessage
from tempfleet.validation import ttl_ms, validate_tags

from ..runtime import Runtime

LONGEST_PATH_BYTES = 4096
"""PATH_MAX. Without a limit, a stranger could store a path of any length for a silent host."""

Answer = dict[str, Any]


class FileMessage(ABC):
    """
    A message for *host*; forwarding.route decides which of its methods a worker calls.

    Each kind is a frozen dataclass. Its fields are the arguments of its task, in their order.
    """

    task: ClassVar[str]
    host: str

    @abstractmethod
    def here(self, runtime: Runtime) -> Answer:
        """Carry the message out on the host that it names."""

    @abstractmethod
    def unverified(self, runtime: Runtime) -> Answer:
        """Do what is possible for a silent host with its records alone, because its disk is not here."""

    def named_paths(self) -> Sequence[str]:
        return ()

    def check(self) -> None:
        """
        Raises:
            MalformedMessage: an argument has the wrong type or form.
            InvalidTTL, InvalidTag: a value is out of its bounds.
        """
        for path in self.named_paths():
            _check_path(path)
        if not isinstance(self.host, str) or not self.host:
            raise MalformedMessage(
                "host is the name of the host that has the file (its TEMP_FILE_HOST); it must be given."
            )

    def as_kwargs(self) -> dict[str, Any]:
        """The arguments of the task, for a message that is forwarded."""
        assert is_dataclass(self)
        return {field.name: getattr(self, field.name) for field in fields(self)}


def check_life(ttl: object, tags: object = ()) -> None:
    """The checks of a time to live and of tags; raises the same errors as FileMessage.check."""
    if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
        raise MalformedMessage(f"tags must be a list of words; got {tags!r:.200}.")
    validate_tags(tags)
    if ttl is not None:
        ttl_ms(ttl)


def life_ms(ttl: float | None, settings: Settings) -> int:
    return ttl_ms(settings.max_age_seconds if ttl is None else ttl)


def _check_path(path: object) -> None:
    if not isinstance(path, str) or not os.path.isabs(path):
        raise MalformedMessage(f"path must be absolute; got {path!r:.200}.")
    if "\0" in path:
        raise MalformedMessage(f"path must not contain NUL; got {path!r:.200}.")
    try:
        length = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise MalformedMessage(f"path is not a file name: {path!r:.200}.") from None
    if length > LONGEST_PATH_BYTES:
        raise MalformedMessage(f"path has {length} bytes; the system's limit is {LONGEST_PATH_BYTES}.")
