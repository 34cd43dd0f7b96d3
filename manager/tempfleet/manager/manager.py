"""
TempFileManager: what users hold. Each method is a thin line from a caller's path to one move of the registry.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from threading import Lock
from types import TracebackType
from typing import Any

import redis

from ..cleanup import Cause
from ..errors import TempfleetError
from ..logs import logger
from ..registry import Clock, server_clock
from ..settings import Settings
from ..validation import ttl_ms
from .asking import Asking
from .deleting import Deleting
from .files import Files
from .keeping import Keeping
from .local_volume import StrPath
from .registration import Registering
from .shutdown import at_end

__all__ = ["TempFileManager"]


class TempFileManager(Registering, Keeping, Deleting, Asking):
    """
    The temporary files of one base directory on one host.

    Any number of managers, threads and processes may name the same base directory; they share one registry. Two
    base directories never see each other's files. A manager survives a fork and can be pickled; the copy connects
    anew.

    Args:
        base_dir: where created files go; made with mode 0700 if it is not there.
        max_age: seconds that a file lives, unless its own ``ttl`` is given.
        settings: instead of the environment's; the other arguments go before it.
        client: a Redis client to use instead of connecting to the settings' URL; such a manager cannot be pickled.

    Raises:
        OSError: the base directory cannot be created.
        InvalidTTL: a *max_age* that is no time to live.
        SettingsError: a setting, or a root, that cannot be.

    Redis is first asked at the first call that needs it; any such call may raise a RegistryError.
    """

    def __init__(
        self,
        base_dir: StrPath | None = None,
        max_age: float | None = None,
        *,
        settings: Settings | None = None,
        host: str | None = None,
        redis_url: str | None = None,
        client: redis.Redis | None = None,
        clock: Clock = server_clock,
    ) -> None:
        if max_age is not None:
            ttl_ms(max_age)
        given = {"max_age_seconds": max_age, "host": host, "redis_url": redis_url}
        directory = None if base_dir is None else os.fsdecode(base_dir)
        self.settings = Settings.load(settings, base_dir=directory, **given)
        self.max_age: float = self.settings.max_age_seconds if max_age is None else max_age
        self.lock = Lock()  # for callers who want one; nothing here ever takes it
        self._given_client = client
        self._clock = clock
        self._begin()
        if self.settings.cleanup_on_start:
            self._clean_first()

    def _begin(self) -> None:
        self._own = None
        self._mine = None
        if self.settings.clear_on_shutdown:
            self._mine = {}
            at_end(self, TempFileManager._clear_mine)
        self._connect()

    @property
    def files(self) -> Files:
        """path -> registration time, live; see Files. Assigning drops records of files that are not there."""
        return Files(self.registry, self.cleaner, self._register_aged, self.unregister)

    @files.setter
    def files(self, wanted: Mapping[str, object]) -> None:
        self.files.keep_only(wanted)

    # -- its own life

    def __enter__(self) -> TempFileManager:
        if self._own is not None:
            raise RuntimeError(
                "this manager is in a with block already; make another one of the same directory"
            )
        self._own = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """
        Delete what this object registered since ``with`` began, and nothing else. A forked child that leaves its
        parent's block deletes what the child itself has registered.
        """
        own, self._own = self._own or {}, None
        self._delete_own(own)

    def close(self) -> None:
        """Give back connections and directories; the files stay registered."""
        if self._given_client is None:
            self.store.client.close()
        self.local_volume.close()

    def __getstate__(self) -> dict[str, Any]:
        if self._given_client is not None:
            raise TypeError(
                "a manager with a client of its own cannot be pickled; give it a redis_url instead"
            )
        return {"settings": self.settings, "max_age": self.max_age, "clock": self._clock}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.settings, self.max_age, self._clock = state["settings"], state["max_age"], state["clock"]
        self.lock = Lock()
        self._given_client = None
        self._begin()

    def __repr__(self) -> str:
        return f"TempFileManager({self.base_dir!r}, max_age={self.max_age!r}, host={self.settings.host!r})"

    def _clean_first(self) -> None:
        """What is due; a start does not fail for what the next clean-up will do."""
        try:
            self.cleanup()
        except TempfleetError as exc:
            logger.warning("Nothing was cleaned at the start: %s", exc)

    def _clear_mine(self) -> None:
        """Delete what this process registered here; an end does not fail for what a deadline will do."""
        mine, self._mine = self._mine or {}, {}
        try:
            self._delete_own(mine)
        except (TempfleetError, OSError) as exc:
            logger.warning("Not everything was cleared at the end: %s", exc)

    def _delete_own(self, own: Mapping[str, int]) -> None:
        paths = [path for path, process in own.items() if process == os.getpid()]
        if paths:
            self.cleaner.clean_paths([paths], Cause.FORCED, until_ms=self.registry.now_ms())
