"""The lease as the holder of a claim sees it: it ends early enough, and at once if the registry refuses more time."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from tempfleet.cleanup.batch import Lease
from tempfleet.records import NewFile
from tempfleet.registry import Registry
from tempfleet.testing import FakeClock


@pytest.fixture
def since_boot(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock of the holder, in seconds since the boot; tests set it."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("tempfleet.cleanup.batch.boot_seconds", lambda: clock.now)
    return clock


def test_a_quarter_of_the_lease_is_reserved_for_the_last_unlink_and_the_ack(
    registry: Registry, since_boot: SimpleNamespace
) -> None:
    lease = Lease(registry, lease_ms=1000)
    assert lease.end == 0.75


@pytest.mark.parametrize(("seconds", "is_granted"), [(0.999, True), (1, False)])
def test_an_extension_that_the_registry_refuses_ends_the_lease_at_once(
    registry: Registry, clock: FakeClock, since_boot: SimpleNamespace, seconds: float, is_granted: bool
) -> None:
    registry.register([NewFile("/base/file", 1, 10, "g1.2.3")])
    clock.advance(1)
    lease = Lease(registry, lease_ms=1000)
    claim = registry.claim(limit=1, lease_ms=1000)
    clock.advance(seconds)  # the registry's clock is ahead of the holder's
    since_boot.now = 0.25
    lease.extend(claim.token)
    assert lease.end == (1.0 if is_granted else -math.inf)
