"""
Files that another volume of this host registered, too: the later promise of both counts.

The other volumes are asked about all files of a batch in one round trip, after the claim. If the host has one volume,
nobody is asked. A file that is due in another volume as well is claimed there, so that nobody is promised it any more;
its record there is dropped if the file is deleted. Whoever registers a file asks afterwards whether another volume has
claimed it (``manager.registration``). So one of the two always sees the other.

Directories are not asked about here: ``nested`` asks about a directory together with what is in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from ..deletion import CLAIMED_BESIDE, HELD_BESIDE, PROMISED_BESIDE, UNREADABLE
from ..errors import RegistryError
from ..filesystem import other_names, read_mounts
from ..logs import logger
from ..records import Deletion, FileRecord, Obstacle, Outcome
from ..registry import Claim, Inside, Nack, Registry, Volume
from ..settings import MAX_BATCH
from .nested import NestedPromises

_REASONS = {"promised": PROMISED_BESIDE, "held": HELD_BESIDE, "claimed": CLAIMED_BESIDE}
# Nothing reaped an ended hold yet, so the file cannot be claimed.
_REASONS_OF_CLAIM = _REASONS | {"ended": HELD_BESIDE}


@dataclass(slots=True)
class ClaimsBeside:
    """
    The files of one batch that were claimed in other volumes.

    Attributes:
        names: the path of each, by its name there; through another mount it has another name.
    """

    claims: list[tuple[Registry, Claim]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def extend(self, lease_ms: int) -> None:
        """
        Raises:
            LeaseLost: one of them ran out.
        """
        for registry, claim in tuple(self.claims):  # the batch's own thread changes it
            registry.extend(claim.token, lease_ms=lease_ms)

    def settle(self, gone: set[str]) -> None:
        """End the claims. The files of the paths *gone* were deleted; the others wait again."""
        claims, self.claims = self.claims, []
        for registry, claim in claims:
            acks = [record for record in claim.records if self.names[record.path] in gone]
            nacks = [record for record in claim.records if self.names[record.path] not in gone]
            if acks:
                registry.ack(claim.token, [Deletion(record, Outcome.MISSING) for record in acks])
            if nacks:
                registry.nack(claim.token, [Nack(record.path, counts=False) for record in nacks])


class Beside:
    """What the other volumes of a host promised about the files of one of its volumes."""

    def __init__(self, promises: NestedPromises) -> None:
        self.promises = promises

    def expected(self, records: Sequence[FileRecord]) -> dict[str, Obstacle]:
        """What stands against deleting the files of *records*, by path. For a dry run: nothing is claimed."""
        own = self.promises.registry.volume
        volumes = [volume for volume in self.promises.fleet.volumes(host=own.host) if volume != own]
        obstacles: dict[str, Obstacle] = {}
        for _ in self._ask(volumes, records, _REASONS, obstacles, {}):
            pass
        return obstacles

    def claim(
        self, volumes: Sequence[Volume], records: Sequence[FileRecord], claims: ClaimsBeside
    ) -> dict[str, Obstacle]:
        """As ``expected``. What is due in one of the other *volumes*, too, is claimed there and added to *claims*."""
        obstacles: dict[str, Obstacle] = {}
        due = list(self._ask(volumes, records, _REASONS_OF_CLAIM, obstacles, claims.names))
        for volume, files in due:
            wanted = [inside for inside in files if claims.names[inside.path] not in obstacles]
            if not wanted:
                continue
            registry, claim = self.promises.claim_due(volume, wanted)
            if claim.records:
                claims.claims.append((registry, claim))
            # renewed, held or claimed just now
            for path in {inside.path for inside in wanted} - {record.path for record in claim.records}:
                obstacles[claims.names[path]] = Obstacle(volume.base_dir, CLAIMED_BESIDE)
        return obstacles

    def claimed(self, volumes: Sequence[Volume], paths: Sequence[str]) -> set[str]:
        """Those of *paths* that one of *volumes* is deleting now."""
        obstacles: dict[str, Obstacle] = {}
        records = [FileRecord(path, 0, 0) for path in paths]
        for _ in self._ask(volumes, records, {"claimed": CLAIMED_BESIDE}, obstacles, {}):
            pass
        return {path for path, obstacle in obstacles.items() if obstacle.reason is CLAIMED_BESIDE}

    def _ask(
        self,
        volumes: Sequence[Volume],
        records: Sequence[FileRecord],
        reasons: dict[str, str],
        obstacles: dict[str, Obstacle],
        names: dict[str, str],
    ) -> Iterator[tuple[Volume, list[Inside]]]:
        """Adds to *obstacles* and *names*; yields the files that are due in each of *volumes*."""
        if not volumes:
            return
        names.update(_names_of([record.path for record in records if not record.is_directory]))
        asked = list(names)
        for start in range(0, len(asked), MAX_BATCH):
            page = asked[start : start + MAX_BATCH]
            for volume, files in self.promises.fleet.inside(
                volumes, page, horizon=self.promises.time()
            ).items():
                if isinstance(files, RegistryError):
                    why = "Files of this host are kept, because its registry %s cannot be read: %s"
                    logger.warning(why, volume.in_words, files)
                    unknown = Obstacle(volume.base_dir, UNREADABLE)
                    obstacles.update(dict.fromkeys((names[name] for name in page), unknown))
                    continue
                for inside in files:
                    path, reason = names[inside.path], reasons.get(inside.kind)
                    known = obstacles.get(path)
                    if reason and (known is None or (inside.until_ms or 0) > (known.until_ms or 0)):
                        obstacles[path] = Obstacle(volume.base_dir, reason, inside.until_ms)
                yield volume, [inside for inside in files if inside.kind == "due"]


def _names_of(paths: Sequence[str]) -> dict[str, str]:
    """Each of *paths* by its names: its own, and those through other mounts of its file system."""
    mounts = read_mounts()

    @cache
    def others(directory: str) -> list[str]:
        return [other for inside, other in other_names(directory, mounts) if not inside]

    names = {path: path for path in paths}
    for path in paths:
        directory, name = os.path.split(path)
        names.update((f"{other.rstrip('/')}/{name}", path) for other in others(directory))
    return names
