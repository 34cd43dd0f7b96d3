"""
What a manager stands on: its directories, its registry, and the engines of its volume.
"""

from __future__ import annotations

import os

import redis

from ..capacity import Admission, Evictor, chosen_policy
from ..cleanup import Cleaner
from ..compression import Compressor
from ..deletion import check_place
from ..embedded import connect_url
from ..filesystem import Roots
from ..plugins import installed
from ..reconciliation import disk_identity_of
from ..registry import Clock, Registry, Store, Volume, connect
from ..settings import Settings

StrPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class Connected:
    """One volume as this process reaches it. Redis is first asked at the first call that needs it."""

    settings: Settings
    max_age: float
    _given_client: redis.Redis | None
    _clock: Clock

    def _connect(self) -> None:
        self._policy_checked = False
        check_place(self.settings.audit_log)
        self.roots = Roots.open(self.settings)
        client = self._given_client or connect(connect_url(self.settings.redis_url))
        self.store = Store(client, namespace=self.settings.namespace, clock=self._clock)
        self.volume = Volume(self.settings.host, self.roots.base.path)
        self._registry = Registry(self.store, self.volume, disk=disk_identity_of(self.roots))
        self._cleaner = Cleaner(self._registry, self.roots, self.settings, installed(self.settings))
        self._order = chosen_policy(self._cleaner.hooks)
        self._admission = Admission(self._registry, self._cleaner, self._order, self.settings)
        self._evictor = self.evictor_for(self._cleaner)
        self._compressor = Compressor(self._registry, self.roots, self.settings)

    @property
    def base_dir(self) -> str:
        return self.settings.base_dir

    @property
    def registry(self) -> Registry:
        """
        The registry behind this manager, checked at its first use.

        Raises:
            EvictingRedis: this Redis may evict records, so nothing is entrusted to it.
        """
        self._check_policy()
        return self._registry

    @property
    def cleaner(self) -> Cleaner:
        """The engine behind this manager; raises as ``registry`` does."""
        self._check_policy()
        return self._cleaner

    @property
    def admission(self) -> Admission:
        """What registers within the limits; raises as ``registry`` does."""
        self._check_policy()
        return self._admission

    @property
    def evictor(self) -> Evictor:
        """What makes room on a disk that is too full; raises as ``registry`` does."""
        self._check_policy()
        return self._evictor

    @property
    def compressor(self) -> Compressor:
        """What compresses idle files, and undoes it; raises as ``registry`` does."""
        self._check_policy()
        return self._compressor

    def cleaner_for(self, base_dir: str) -> Cleaner:
        """
        The engine for another base directory of this host, with our roots and settings.

        Raises:
            VolumeUnavailable: the directory is not there; it is not made.
        """
        # The roots of messages stay ours: another base directory is not opened to strangers by being cleaned here.
        given = {"base_dir": base_dir, "message_roots": self.settings.confined_roots}
        settings = self.settings.model_copy(update=given)
        roots = Roots.open(settings, create=False)
        registry = Registry(self.store, Volume(settings.host, roots.base.path))
        return Cleaner(registry, roots, settings, installed(settings))

    def evictor_for(self, cleaner: Cleaner) -> Evictor:
        """What makes room for another engine of this host, by our policy."""
        return Evictor(cleaner, self._order)

    def _check_policy(self) -> None:
        if not self._policy_checked:
            self.store.check_policy()
            self._policy_checked = True
