"""
A claim in its holder's hands: how long it is his, and what became of its files so far.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from ..deletion import Quarantined
from ..errors import LeaseLost, RegistryUnavailable
from ..logs import logger
from ..records import GONE, Deletion
from ..registry import Claim, Registry
from .cause import Cause


class Lease:
    """
    The holder's own view of its claim, on the monotonic clock from *before* the claim was sent.

    So a holder stops before the registry gives its files away, whatever the wall clock does. A quarter of the lease
    is kept for the last unlink and the ack.
    """

    def __init__(self, registry: Registry, *, lease_ms: int) -> None:
        self.registry = registry
        self.lease_ms = lease_ms
        self.seconds = lease_ms / 1000
        self._taken = self._asked = time.monotonic()

    def holds(self) -> bool:
        return time.monotonic() < self._taken + self.seconds * 0.75

    def extend(self, token: int) -> None:
        """
        Ask for the full time again, if a quarter of it has gone since we asked last. A registry that does not
        answer leaves the old end standing.
        """
        now = time.monotonic()
        if now < self._asked + self.seconds / 4:
            return
        self._asked = now
        try:
            self.registry.extend(token, lease_ms=self.lease_ms)
            self._taken = now
        except LeaseLost:
            self._taken = -math.inf
            logger.info("Claim %d ran out before it was settled; its files are left to the next claim", token)
        except RegistryUnavailable as exc:
            logger.warning("Claim %d could not be extended: %s", token, exc)


@dataclass(slots=True)
class Batch:
    """
    A claim, how long it is ours, why its files are deleted, and what became of them so far.
    """

    claim: Claim
    lease: Lease
    cause: Cause
    # appended by several threads; append is atomic
    deletions: list[Deletion] = field(default_factory=list)
    moved: list[Quarantined] = field(default_factory=list)

    def waits_again(self) -> set[str]:
        """The files that are not gone; all of them, before they were tried."""
        gone = {deletion.path for deletion in self.deletions if deletion.outcome in GONE}
        return {record.path for record in self.claim.records if record.path not in gone}
