"""
Migrates registries of an older schema.

Schema 1 stored one hold for each file: its end was the file's score in held, and its reason had the path as its field.
Schema 2 has keepers, several for each file (see scripts/keep.lua).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import HostLive, SchemaMismatch
from ..logs import printable
from ..settings import MAX_BATCH
from .connection import mismatch
from .fleet import Fleet
from .keys import HOLD, OLDER_SCHEMA, SCHEMA, UNFINISHED_SCHEMA, Volume
from .reader import RegistryReader, path_of
from .values import batches

PASSES = 3
"""A pass reads all held files. Nothing changes meanwhile, unless an older version still runs."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """
    One registry of an older schema.

    Attributes:
        schema: before the upgrade.
        held: the number of held files; their holds get the name "hold".
    """

    host: str
    base_dir: str
    schema: str
    held: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def upgrade(
    fleet: Fleet,
    *,
    dry_run: bool = False,
    force: bool = False,
    progress: Callable[[int], None] = lambda held: None,
) -> list[Upgrade]:
    """
    Migrate every registry of an older schema, in steps of at most 1,000 files. Returns these registries. If it is
    interrupted, repeat it. Stop all older versions first: while they run, they change the registry.

    Args:
        dry_run: change nothing.
        force: also while workers are live. Workers of this version may run: they do nothing until the upgrade.
        progress: called with the number of migrated files.

    Raises:
        HostLive: a worker is live, and *force* is False; nothing was changed.
        SchemaMismatch: a registry has a newer schema, and nothing was changed; or an older version changed it during
            the upgrade.
    """
    outdated = _outdated(fleet)
    if dry_run or not outdated:
        return [found for _, found in outdated]
    if not force and (live := sorted(fleet.live_hosts())):
        raise HostLive(
            f"Workers are live ({', '.join(map(printable, live))}): stop them and wait a minute. "
            "If all of them run this version, use force.",
            host=live[0],
        )
    done = 0
    for volume, _ in outdated:
        for held in _Upgrade(fleet.store, volume).steps():
            progress(done + held)
        done += held
    return [found for _, found in outdated]


def _outdated(fleet: Fleet) -> list[tuple[Volume, Upgrade]]:
    found = [
        (volume, Upgrade(volume.host, volume.base_dir, stats.schema, stats.held))
        for volume, stats in fleet.stats(fleet.volumes()).items()
        if stats.schema != str(SCHEMA)
    ]
    for _, registry in found:
        if registry.schema not in (str(OLDER_SCHEMA), UNFINISHED_SCHEMA):
            raise mismatch(registry.schema)
    return found


class _Upgrade(RegistryReader):
    """The upgrade of one registry."""

    def steps(self) -> Iterator[int]:
        """Migrate holds step by step; yields the number of files so far, at least once."""
        for _ in range(PASSES):
            held = 0
            for page in self._scan("held", MAX_BATCH):
                self._step(page)
                held += len(page)
                yield held
            for members in self._pages("zscan", "kept", MAX_BATCH):
                for batch in batches(list(members)):
                    self._step([path_of(keeper) for keeper in batch])
            if self._step([], finish=True):
                yield held
                return
        raise SchemaMismatch(
            f"Holds {self.volume.in_words} changed during the upgrade: stop all older versions and repeat it."
        )

    def _step(self, paths: Sequence[str], *, finish: bool = False) -> bool:
        """Returns whether the registry has the new schema."""
        schemas = {"from": OLDER_SCHEMA, "between": UNFINISHED_SCHEMA, "to": SCHEMA}
        more = [os.fsencode(path) for path in paths]
        return bool(self._run("upgrade", more=more, name=HOLD, finish=int(finish), **schemas))
