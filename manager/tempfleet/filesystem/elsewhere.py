"""Which roots that files were registered in are other directories here; ``reconciliation/root_disks.py`` finds them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """
    One comparison of all roots.

    Attributes:
        stored: what the registry has about them.
        reasons: (path with a slash, reason) of all of them, the longest first, "" for one that is the same directory;
            empty if all are.
    """

    stored: str = ""
    reasons: tuple[tuple[str, str], ...] = ()

    def reason_of(self, path: str) -> str:
        """Why the root that *path* was registered in is not here; "" if it is."""
        return next((reason for prefix, reason in self.reasons if path.startswith(prefix)), "")

    @property
    def missing(self) -> dict[str, str]:
        return {prefix[:-1]: reason for prefix, reason in self.reasons if reason}


NOTHING_ELSEWHERE = Elsewhere()
