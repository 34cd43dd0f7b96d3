"""The registry as the deleter sees it (deletion/promises.py)."""

from __future__ import annotations

from collections.abc import Sequence

from ..deletion import Owner
from ..records import FileRecord, NewFile
from ..registry import Registry


class RegistryPromises:
    """What deleting needs from one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._owner: Owner | None = None

    def owner(self, *, fresh: bool = False) -> Owner:
        if fresh or self._owner is None or not self._owner.epoch:
            registry, store = self._registry, self._registry.store
            host, base_dir = registry.volume.host, registry.volume.base_dir
            self._owner = Owner(host, base_dir, store.namespace, store.server, registry.epoch())
        return self._owner

    def saw(self, epoch: str) -> None:
        """The epoch of the registry, as the last claim showed it."""
        if epoch and self._owner is not None and self._owner.epoch != epoch:
            self._owner = self._owner._replace(epoch=epoch)

    def begin(self, record: FileRecord, token: int) -> bool:
        return self._registry.begin(token, record.path)

    def read(self, paths: Sequence[str]) -> tuple[int, list[FileRecord | None]]:
        return self._registry.read(paths)

    def former(self, paths: Sequence[str]) -> list[FileRecord | None]:
        return self._registry.former(paths)

    def forget_former(self, record: FileRecord) -> None:
        self._registry.forget_former(record)

    def register(self, file: NewFile) -> None:
        self._registry.register([file])
