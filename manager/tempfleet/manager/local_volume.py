"""
One volume whose base directory this process has: its records, its roots, and the engines that work on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

from ..capacity import Admission, Evictor, chosen_policy
from ..cleanup import Cleaner, HostClock
from ..compression import Compressor
from ..filesystem import Roots
from ..plugins import Announcer, Policy, installed
from ..reconciliation import RootDisks, UnregisteredFiles
from ..registry import Fleet, Host, Registry, Store, Volume
from ..settings import Settings

T = TypeVar("T")


class BuiltOnce(Generic[T]):
    """
    A property that is built at its first use.

    Threads that build it at the same time all get the first result. It has no lock: a fork would copy a lock that
    another thread holds, and nobody would ever release it in the child. (functools.cached_property has one in Python
    3.11.)
    """

    def __init__(self, build: Callable[[Any], T]) -> None:
        self._build = build
        self.__doc__ = build.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        built: T = instance.__dict__.setdefault(self._name, self._build(instance))
        return built


class LocalVolume:
    """
    One volume with its engines. It is thread-safe, and usable after a fork.

    Redis is not asked before the first use of a property. Every property raises EvictingRedis if this Redis may evict
    records, because an evicted record is a leaked file.

    Args:
        roots: open; ``close`` closes them.
        store: is shared, and stays open.
        policy: the eviction policy; that of the settings if it is not given.
        host_clock: the clock that Redis's is compared with; the system's if it is not given.

    Attributes:
        volume: host and base directory, which are the name of the volume in Redis.
        unchecked_registry, unchecked_cleaner: for what has to work on any Redis, or without one: health, diagnosis,
            and restoring from quarantine.

    Raises:
        SettingsError: there is no such eviction policy.
    """

    def __init__(
        self,
        settings: Settings,
        roots: Roots,
        store: Store,
        *,
        policy: Policy | None = None,
        host_clock: HostClock | None = None,
    ) -> None:
        self.settings = settings
        self.roots = roots
        self.store = store
        self.volume = Volume(settings.host, roots.base.path)
        self.unchecked_registry = Registry(store, self.volume, disks=RootDisks(roots))
        self.host_clock = host_clock
        self.unchecked_cleaner = Cleaner(
            self.unchecked_registry, roots, settings, installed(settings), host_clock
        )
        self._policy = policy or chosen_policy(self.unchecked_cleaner.hooks)

    @BuiltOnce
    def registry(self) -> Registry:
        """The records of the volume."""
        _ = self.hosts_at_start
        return self.unchecked_registry

    @BuiltOnce
    def hosts_at_start(self) -> tuple[float, list[Host]]:
        """The monotonic time of the first use of the registry, and the hosts of the fleet then."""
        return time.monotonic(), Fleet(self.store, live_seconds=self.settings.host_live_seconds).start()

    @BuiltOnce
    def cleaner(self) -> Cleaner:
        """Deletes expired files."""
        _ = self.registry
        _ = self.registry
        return self.unchecked_cleaner

    @BuiltOnce
    def admission(self) -> Admission:
        """Registers files within the limits."""
        return Admission(self.registry, self.cleaner, self._policy, self.settings)

    @BuiltOnce
    def evictor(self) -> Evictor:
        """Evicts files from a full disk. It remembers when that freed nothing."""
        return Evictor(self.cleaner, self._policy)

    @BuiltOnce
    def compressor(self) -> Compressor:
        """Compresses idle files, and decompresses them. It remembers how far its last pass went."""
        return Compressor(self.registry, self.roots, self.settings)

    @BuiltOnce
    def announcer(self) -> Announcer:
        """Announces files near their expiry. It remembers the files that it announced."""
        return Announcer(self.registry, self.cleaner.hooks)

    @BuiltOnce
    def unregistered(self) -> UnregisteredFiles:
        """Finds unregistered files."""
        return UnregisteredFiles(self.registry, self.roots)

    def beside(self, base_dir: str) -> LocalVolume:
        """
        Returns the volume of another base directory of this host, with our settings and eviction policy.

        Messages may name files below our own roots only: a base directory that is cleaned from here is not thereby
        opened to them.

        Raises:
            VolumeUnavailable: the directory does not exist; it is not created.
        """
        changes = {"base_dir": base_dir, "message_roots": self.settings.confined_roots}
        settings = self.settings.model_copy(update=changes)
        roots = Roots.open(settings, create=False)
        return LocalVolume(settings, roots, self.store, policy=self._policy, host_clock=self.host_clock)

    def check(self) -> None:
        """
        Raises:
            VolumeUnavailable: this process does not have the base directory, or another disk is mounted there.
        """
        self.cleaner.check_volume()

    def close(self, then: Callable[[], object] | None = None) -> None:
        """Close the directories when nothing uses them any more, and call *then* after that."""
        self.roots.close(then)
