"""``python -m tempfleet.embedded DIR [GRACE_SECONDS]``: the keeper of DIR's server."""

from __future__ import annotations

import sys

from .keeper import keep

if __name__ == "__main__":
    keep(sys.argv[1], *map(float, sys.argv[2:3]))
