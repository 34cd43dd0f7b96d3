"""
The promises that the registries of this host made about the files in a directory (see ``deletion.Promises``).

Every volume of this host is asked, because any of them may have a record of a path in the directory: one round trip
for a thousand paths and all volumes. A file in it that is due goes with the directory. It is claimed in its own
registry before, and its record is dropped as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..deletion import CLAIMED, HELD, PROMISED, UNREADABLE, VOLUME
from ..errors import LeaseLost, RegistryError
from ..logs import logger, printable
from ..records import Deletion, FileRecord, Obstacle, Outcome, State
from ..registry import Claim, Fleet, Horizon, Inside, Nack, Registry, Volume
from .outlook import Outlook
from .promises import RegistryPromises

_REASONS = {"promised": PROMISED, "held": HELD, "claimed": CLAIMED}

MOST_CUT_OFFS, MOST_DOUBLINGS = 1000, 10
"""How many directories are remembered that were too large, and how often the time for them is doubled."""


class NestedPromises(RegistryPromises):
    """
    The registry of one volume, and what all registries of its host promised.

    Args:
        horizon: returns what this process knows of the time.

    Attributes:
        cut_offs: how often the time ran out while a directory was looked at, by its path; until it was enough.
    """

    def __init__(self, registry: Registry, *, lease_ms: int, horizon: Callable[[], Horizon]) -> None:
        super().__init__(registry)
        self.registry = registry
        self.fleet = Fleet(registry.store)
        self.lease_ms = lease_ms
        self.horizon = horizon
        self.cut_offs: dict[str, int] = {}
        # The volumes that were found last, and the claims of due files in a directory, by its path.
        self._volumes: list[Volume] = []
        self._claims: dict[str, list[tuple[Registry, Claim]]] = {}

    def obstacle(
        self, directory: FileRecord, pages: Iterable[Sequence[str]], *, claim: bool
    ) -> Obstacle | None:
        """See ``deletion.Promises``."""
        obstacle = self._obstacle(directory, pages, claim=claim)
        if obstacle is not None:
            self.cut_offs.pop(directory.path, None)
        return obstacle

    def _obstacle(
        self, directory: FileRecord, pages: Iterable[Sequence[str]], *, claim: bool
    ) -> Obstacle | None:
        if claim or not self._volumes:
            # Before the rename an old list does no harm. After it, a new volume may have files in the directory.
            self._volumes = self.fleet.volumes(host=self.registry.volume.host)
        volumes = self._volumes
        bases = {volume.base_dir for volume in volumes}
        for page in pages:
            if not bases.isdisjoint(page):
                return Obstacle(next(path for path in page if path in bases), VOLUME)
            found: dict[Volume, list[Inside]] = {}
            for volume, files in self.fleet.inside(volumes, page, horizon=self.time()).items():
                if isinstance(files, RegistryError):
                    why = "%s is kept, because a registry of this host cannot be read: %s"
                    logger.warning(why, printable(directory.path), files)
                    return Obstacle(volume.base_dir, UNREADABLE)
                own = directory.path if volume == self.registry.volume else ""
                if others := [inside for inside in files if inside.path != own]:
                    found[volume] = others
            obstacle = self._strongest(found, claim=claim)
            if obstacle is None and claim:
                obstacle = self._claim_due(directory, found)
            if obstacle is not None:
                return obstacle
        return self._lost(directory)

    def with_horizon(self, horizon: Horizon) -> NestedPromises:
        """The same, for a process that knows *horizon* of the time."""
        return NestedPromises(self.registry, lease_ms=self.lease_ms, horizon=lambda: horizon)

    def settle(self, directory: FileRecord, *, gone: bool) -> None:
        """See ``deletion.Promises``."""
        if gone:
            self.cut_offs.pop(directory.path, None)
        for registry, claim in self._claims.pop(directory.path, ()):
            if gone:
                registry.ack(claim.token, [Deletion(record, Outcome.MISSING) for record in claim.records])
            else:
                registry.nack(claim.token, [Nack(record.path, counts=False) for record in claim.records])

    def cut_off(self, directory: FileRecord) -> None:
        """See ``deletion.Promises``."""
        self.cut_offs[directory.path] = self.cut_offs.get(directory.path, 0) + 1
        if len(self.cut_offs) > MOST_CUT_OFFS:
            self.cut_offs.pop(next(iter(self.cut_offs)), None)

    @property
    def patience(self) -> int:
        """So many times its budget a clean-up gets, until the largest directory can be looked at."""
        return 1 << min(max(list(self.cut_offs.values()), default=0), MOST_DOUBLINGS)

    def time(self) -> Horizon:
        """What this process knows of the time; tokens and epochs of other volumes it does not know."""
        horizon = self.horizon()
        return Horizon(horizon.latest_ms, horizon.expected_ms)

    def claim_due(self, volume: Volume, due: Sequence[Inside]) -> tuple[Registry, Claim]:
        """Claim files that were found to be *due* in *volume*, so that nobody is promised them any more."""
        registry = self.fleet.registry(volume)
        paths, until_ms = [inside.path for inside in due], due[0].now_ms
        claim = registry.claim_paths(
            paths, lease_ms=self.lease_ms, until_ms=until_ms, due=True, horizon=self.time()
        )
        return registry, claim

    def _standing(self, volume: Volume, files: Sequence[Inside]) -> list[Inside]:
        """Those of the registered *files* of *volume* that keep the directory that they are in."""
        return [inside for inside in files if inside.kind in _REASONS]

    def _strongest(self, found: dict[Volume, list[Inside]], *, claim: bool) -> Obstacle | None:
        """The obstacle among the files of one page that lasts longest, as far as its end is known."""
        obstacles: list[Obstacle] = []
        for volume, files in found.items():
            standing = self._standing(volume, files)
            if claim:  # nothing reaped it yet, so it cannot be claimed
                standing += [inside for inside in files if inside.kind == "ended"]
            obstacles += [
                Obstacle(inside.path, _REASONS.get(inside.kind, HELD), inside.until_ms) for inside in standing
            ]
        return max(obstacles, key=lambda obstacle: obstacle.until_ms or 0, default=None)

    def _claim_due(self, directory: FileRecord, found: dict[Volume, list[Inside]]) -> Obstacle | None:
        """Claim the due files of one page. Returns the obstacle if one was renewed, held or claimed just now."""
        for volume, files in found.items():
            due = [inside.path for inside in files if inside.kind == "due"]
            if not due:
                continue
            registry, claim = self.claim_due(volume, [inside for inside in files if inside.kind == "due"])
            if claim.records:
                self._claims.setdefault(directory.path, []).append((registry, claim))
            if changed := set(due) - {record.path for record in claim.records}:
                return Obstacle(min(changed), CLAIMED)
        return None

    def _lost(self, directory: FileRecord) -> Obstacle | None:
        """A due file whose claim ran out while a large directory was looked at: it may have been renewed since."""
        for registry, claim in self._claims.get(directory.path, ()):
            try:
                registry.extend(claim.token, lease_ms=self.lease_ms)
            except LeaseLost:
                return Obstacle(claim.records[0].path, CLAIMED)
        return None


class ExpectedPromises(NestedPromises):
    """
    For a dry run: a file does not keep its directory if the clean-up deletes it before. A file that the clean-up keeps
    does.

    Args:
        goes_early: whether the clean-up deletes a waiting file that is not due.
        outlook: what the clean-up would find out about the clock.

    Attributes:
        kept: the paths that the clean-up would keep, as far as the dry run got.
    """

    def __init__(
        self, promises: NestedPromises, goes_early: Callable[[FileRecord], bool], outlook: Outlook
    ) -> None:
        super().__init__(promises.registry, lease_ms=promises.lease_ms, horizon=lambda: outlook.horizon)
        self.kept: set[str] = set()
        self._outlook = outlook
        self._goes_early = goes_early

    def _standing(self, volume: Volume, files: Sequence[Inside]) -> list[Inside]:
        if volume != self.registry.volume:
            return super()._standing(volume, files)
        kept = [inside._replace(kind="claimed") for inside in files if inside.path in self.kept]
        standing = super()._standing(volume, [inside for inside in files if inside.path not in self.kept])
        now_ms, records = self.registry.read([inside.path for inside in standing])
        going = {
            record.path
            for record in records
            if record is not None
            and (record.state is State.WAITING or record.has_ended_hold(self._outlook.time(now_ms)))
            and self._goes_early(record)
        }
        return kept + [inside for inside in standing if inside.path not in going]
