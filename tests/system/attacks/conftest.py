"""Every attack runs with the calls of this kernel and with their portable replacements."""

from __future__ import annotations

import pytest

from tempfleet.filesystem.syscalls import Capabilities, System

SYSTEMS = {
    "native": Capabilities.probe(),
    "old kernel": Capabilities(statx=Capabilities.probe().statx, handles=Capabilities.probe().handles),
    "portable": Capabilities(),
}


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> System:
    return System(SYSTEMS[request.param])
