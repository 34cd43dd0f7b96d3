"""What a clean-up would find out about Redis's clock, for previews: they change nothing, and must not say too much."""

from __future__ import annotations

from typing import NamedTuple

from ..formatting import duration
from ..logs import logger, printable
from ..registry import Horizon
from .clock_samples import TOLERANCE_MS

CLAIMS_NOTHING = "Nothing is claimed in %s now, because of Redis's clock or data; see tempfleet doctor"


class Outlook(NamedTuple):
    """
    What a clean-up would find out about Redis's clock, for a preview.

    Attributes:
        later_ms: so much later than the volume's records show, deadlines and holds will pass.
        jumped_ms: the jumps that nobody has recorded yet.
        pause: the reason of a pause, or of the one that the clean-up would make; "" for none.
        horizon: of a process that knows the time.
    """

    later_ms: int
    jumped_ms: int
    pause: str
    horizon: Horizon

    def time(self, now_ms: int) -> int:
        """The time until which deadlines and holds have ended, where records end them by *now_ms*."""
        return -1 if self.pause else now_ms - self.later_ms

    def log(self, base_dir: str, *, early: bool) -> None:
        """Write why files are not deleted that seem to be due."""
        if not self.claims(early=early):
            logger.warning(CLAIMS_NOTHING, printable(base_dir))
        elif self.later_ms >= TOLERANCE_MS:
            later = duration(self.later_ms / 1000)
            logger.warning("Redis's clock jumped ahead: deadlines pass %s later than records show", later)

    def claims(self, *, early: bool) -> bool:
        """Whether a clean-up claims files at all: due ones, or also *early* ones."""
        return not self.pause or (early and self.pause != "older")
