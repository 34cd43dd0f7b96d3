"""
Forgetting a host that does not come back: on fakeredis and on a real server. The host may come back between any two
round trips; then nothing of it is forgotten from that moment on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from support import snapshot
from tempfleet import HostLive, TempFileManager, UnknownHost, Volume
from tempfleet.records import NewFile
from tempfleet.registry import Forgetting, Nack, Registry, Store, forget, forget_silent, preview_forget
from tempfleet.registry.fleet import Fleet
from tempfleet.testing import FakeClock

BASE, OTHER, ELSEWHERE = Volume("web-1", "/base"), Volume("web-1", "/other"), Volume("web-2", "/base")
DAY = 86400
MakeManager = Callable[..., TempFileManager]


def registered(registry: Registry, *names: str, **options: Any) -> list[str]:
    paths = [f"{registry.volume.base_dir}/{name}" for name in names]
    registry.register([NewFile(path, 5_000_000, size_bytes=3, tags=("t",), **options) for path in paths])
    return paths


def paths_of(registry: Registry) -> list[str]:
    return [path for page in registry.paths() for path in page]


@pytest.fixture
def base(fleet: Fleet) -> Registry:
    return fleet.registry(BASE)


def silent(fleet: Fleet, clock: FakeClock, host: str = "web-1") -> None:
    fleet.heartbeat(host)
    clock.advance(100)


def everything_of(client: redis.Redis, host: str) -> dict[bytes, object]:
    """Returns every key of a host's volumes, and every fleet key that names the host."""
    found = snapshot(client)
    return {key: value for key, value in found.items() if host.encode() in key or host in repr(value)}


def test_a_forgotten_host_leaves_nothing_and_others_keep_everything(
    fleet: Fleet, base: Registry, redis_client: redis.Redis, clock: FakeClock
) -> None:
    registered(fleet.registry(ELSEWHERE), "x")
    fleet.heartbeat("web-2")
    before = everything_of(redis_client, "web-2")
    fleet.announce(BASE, ephemeral_seconds=DAY)
    paths = registered(base, *"abcdef")
    registered(fleet.registry(OTHER), "x")
    epoch = base.epoch()
    base.hold(paths[0], hold_ms=None, reason="ticket")
    base.hold(paths[0], hold_ms=None, name="anna")
    base.register([NewFile("/base/aside", 10, flags="q")])
    claim = base.claim_paths(paths[1:3], lease_ms=1000, until_ms=clock.now_ms)
    base.nack(claim.token, [Nack(paths[1], bury=True)])
    base.register([NewFile(paths[2], 1000, identity="another")])
    fleet.mark_waiting(BASE.wake_up)
    silent(fleet, clock)
    would = preview_forget(fleet, "web-1", with_kept=True)
    seen: list[int] = []
    report = forget(fleet, "web-1", with_kept=True, progress=seen.append)
    assert (report.forgotten, report.left, report.is_gone, report.volumes) == (8, {}, True, 2)
    assert would.as_dict() == report.as_dict()
    assert seen[-1] == 8
    assert everything_of(redis_client, "web-1") == {}
    assert everything_of(redis_client, "web-2") == before
    assert fleet.was_erased(epoch)
    assert not fleet.was_erased("another")


def test_held_and_quarantined_files_stay_unless_they_are_to_go_too(
    fleet: Fleet, base: Registry, clock: FakeClock
) -> None:
    held, *_ = registered(base, "a", "b", "c")
    base.hold(held, hold_ms=None)
    base.register([NewFile("/base/aside", 10, flags="q")])
    silent(fleet, clock)
    assert preview_forget(fleet, "web-1").as_dict() | {"gone": False} == forget(fleet, "web-1").as_dict() | {
        "gone": False
    }
    assert sorted(paths_of(base)) == [held, "/base/aside"]
    assert fleet.volumes() == [BASE]
    assert [host.name for host in fleet.hosts()] == ["web-1"]
    stats = base.stats()
    assert (stats.imbalance, stats.total("forgotten"), stats.bytes) == (0, 2, 3)
    again = forget(fleet, "web-1")
    assert (again.forgotten, again.left, again.is_gone) == (0, {"held": 1, "quarantined": 1}, False)
    assert forget(fleet, "web-1", with_kept=True).is_gone


def test_a_manager_forgets_another_host(make_manager: MakeManager, clock: FakeClock, base_dir: Path) -> None:
    manager, other = make_manager(), make_manager(host="web-2")
    path = base_dir / "a"
    path.touch()
    other.register(path)
    other.hold(path)
    clock.advance(1)
    seen: list[int] = []
    assert manager.forget_host("web-2").left == {"held": 1}
    assert manager.forget_host("web-2", with_kept=True, progress=seen.append).is_gone
    assert seen == [1]
    assert path.exists()
    with pytest.raises(UnknownHost):
        manager.forget_host("web-2")


def test_a_live_host_and_an_unknown_one_are_refused(fleet: Fleet, base: Registry, clock: FakeClock) -> None:
    registered(base, "a")
    fleet.heartbeat("web-1")
    for call in (forget, preview_forget):
        with pytest.raises(HostLive):
            call(fleet, "web-1")
        with pytest.raises(UnknownHost):
            call(fleet, "web-3")
    assert len(base) == 1


def test_a_host_without_a_worker_is_forgotten_by_its_name(
    fleet: Fleet, base: Registry, clock: FakeClock, redis_client: redis.Redis
) -> None:
    """The usual mistake: the program's TEMP_FILE_HOST is a name that no worker has."""
    registered(base, "a")
    clock.advance(1)
    report = forget(fleet, "web-1")
    assert (report.silent_seconds, report.forgotten, report.is_gone) == (None, 1, True)
    assert everything_of(redis_client, "web-1") == {}


def test_a_host_without_files_is_forgotten(fleet: Fleet, clock: FakeClock) -> None:
    silent(fleet, clock)
    assert forget(fleet, "web-1").is_gone
    assert fleet.hosts() == []


def test_files_that_a_dead_process_has_claimed_wait_for_the_end_of_the_lease(
    fleet: Fleet, base: Registry, clock: FakeClock
) -> None:
    paths = registered(base, "a", "b", "c")
    silent(fleet, clock)
    base.claim_paths(paths[:1], lease_ms=500, until_ms=clock.now_ms)
    clock.advance(1)
    base.claim_paths(paths[1:2], lease_ms=1000, until_ms=clock.now_ms)
    would = preview_forget(fleet, "web-1")
    report = forget(fleet, "web-1")
    assert (report.forgotten, report.left) == (would.forgotten, would.left) == (2, {"leased": 1})
    clock.advance(1)
    assert forget(fleet, "web-1").is_gone


def test_forgetting_is_cut_into_steps_and_goes_on_after_an_interruption(
    fleet: Fleet, base: Registry, clock: FakeClock, redis_client: redis.Redis
) -> None:
    for start in range(0, 3000, 500):
        registered(base, *(f"{n:05}" for n in range(start, start + 500)))
    silent(fleet, clock)
    seen: list[int] = []
    report = forget(fleet, "web-1", progress=seen.append, stop=lambda: seen[-1] > 0)
    assert 0 < report.forgotten < 3000
    assert not report.is_gone
    assert base.stats().imbalance == 0
    rest = forget(fleet, "web-1", progress=seen.append)
    assert report.forgotten + rest.forgotten == 3000
    steps = [b - a for a, b in zip([0, *seen], seen, strict=False)]
    assert max(steps) <= 1000
    assert everything_of(redis_client, "web-1") == {}


def test_a_file_with_thousands_of_holds_is_forgotten_in_bounded_steps(
    fleet: Fleet, base: Registry, clock: FakeClock
) -> None:
    many, *others = registered(base, *"abcde")
    for n in range(1100):
        base.hold(many, hold_ms=None, name=f"k{n}")
    for path in others:
        base.hold(path, hold_ms=None)
    silent(fleet, clock)
    report = forget(fleet, "web-1", with_kept=True)
    assert (report.forgotten, report.is_gone) == (5, True)


def test_what_damage_left_in_a_set_goes_with_the_keys(
    fleet: Fleet, base: Registry, clock: FakeClock, redis_client: redis.Redis
) -> None:
    registered(base, "a")
    redis_client.zadd(base.keys["dead"], {b"/base/lost": 5})
    redis_client.hset(base.keys["records"], b"/base/rubbish", b"rubbish")
    redis_client.zadd(base.keys["registry"], {b"/base/rubbish": 5})
    silent(fleet, clock)
    assert forget(fleet, "web-1").is_gone
    assert everything_of(redis_client, "web-1") == {}


class Interrupted(Store):
    """Does *what* right before the *nth* round trip, and then counts no more."""

    def __init__(self, store: Store, nth: int, what: Callable[[], object]) -> None:
        super().__init__(store.client, clock=store.clock)
        self.left, self.what = nth, what

    def call(self, command: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            self.what()
        return super().call(command, *args, **options)


def comes_back(host: Fleet) -> None:
    host.heartbeat("web-1")


def claims(host: Fleet) -> None:
    """A program without a worker deletes files."""
    base = host.registry(BASE)
    base.claim_paths(paths_of(base)[:1000], lease_ms=1000, until_ms=host.store.clock.now_ms)  # type: ignore[attr-defined]


def registers(host: Fleet) -> None:
    host.store.clock.advance(0.001)  # type: ignore[attr-defined]
    registered(host.registry(BASE), "new")


def works(host: Fleet) -> None:
    """Comes back, and has a file and a hold then."""
    host.heartbeat("web-1")
    registers(host)
    host.registry(BASE).hold("/base/new", hold_ms=None)


@pytest.mark.parametrize("action", [comes_back, claims, registers, works])
def test_nothing_is_forgotten_from_the_moment_on_that_the_host_is_back(
    action: Callable[[Fleet], None], real_client: redis.Redis, clock: FakeClock
) -> None:
    """Whatever the round trip is before which it happens: what is there then stays, is sound and is listed."""
    host = Fleet(Store(real_client, clock=clock))
    base = host.registry(BASE)
    for start in range(0, 1500, 500):
        registered(base, *(f"{n:05}" for n in range(start, start + 500)))
    registered(host.registry(OTHER), "x")
    silent(host, clock)
    dumps = {key: real_client.dump(key) for key in real_client.scan_iter()}
    for nth in range(1, 40):
        real_client.flushall()
        for key, dump in dumps.items():
            real_client.restore(key, 0, dump)
        left: list[set[str]] = []

        def act() -> None:
            action(host)
            left.append(set(paths_of(base)))  # noqa: B023

        report = Forgetting("web-1", None)
        with suppress(HostLive):
            report = forget(Fleet(Interrupted(host.store, nth, act)), "web-1")
        if not left:
            assert report.is_gone
            assert nth > 10
            return
        # A claim before the beginning is no sign of life, because the forgetting cannot know that it is recent.
        is_back = action in (comes_back, works) or (action is claims and nth > 5)
        assert set(paths_of(base)) >= (left[0] if is_back else left[0] & {"/base/new"}), nth
        assert base.audit() == []
        assert base.stats().imbalance == 0
        assert not len(base) or BASE in host.volumes(), nth
        if action in (comes_back, works):
            assert host.live_hosts() == {"web-1"}, nth
    pytest.fail("forgetting took more round trips than expected")


# -- ephemeral hosts


def look(fleet: Fleet, *, budget_seconds: float = 10) -> list[Forgetting]:
    """As a sweep does."""
    stats = fleet.stats(fleet.volumes())
    return forget_silent(fleet, fleet.hosts(), stats, budget_seconds=budget_seconds)


def ephemeral(fleet: Fleet, clock: FakeClock, *, seconds: float = DAY) -> Registry:
    """Returns the registry of a host that is ephemeral, and silent from now on."""
    fleet.announce(BASE, ephemeral_seconds=seconds)
    base = fleet.registry(BASE)
    (held, *_) = registered(base, "a", "b")
    base.hold(held, hold_ms=None)
    silent(fleet, clock)
    return base


def test_an_ephemeral_host_is_forgotten_when_it_was_silent_for_its_time(
    fleet: Fleet, clock: FakeClock, redis_client: redis.Redis
) -> None:
    ephemeral(fleet, clock)
    for _ in range(24):
        assert look(fleet) == []
        clock.advance(3600)
    (report,) = look(fleet)
    assert (report.host, report.forgotten, report.is_gone) == ("web-1", 2, True)
    assert everything_of(redis_client, "web-1") == {}


def test_a_host_that_is_not_ephemeral_is_never_forgotten_by_itself(fleet: Fleet, clock: FakeClock) -> None:
    base = ephemeral(fleet, clock)
    fleet.announce(BASE, ephemeral_seconds=0)
    for _ in range(60):
        assert look(fleet) == []
        clock.advance(DAY)
    assert len(base) == 2


@pytest.mark.parametrize("sign", [comes_back, claims, registers])
def test_a_sign_of_life_begins_the_silence_anew(
    sign: Callable[[Fleet], None], fleet: Fleet, clock: FakeClock
) -> None:
    ephemeral(fleet, clock)
    for _ in range(23):
        look(fleet)
        clock.advance(3600)
    sign(fleet)
    clock.advance(3600)
    for _ in range(24):
        assert look(fleet) == []
        clock.advance(3600)
    assert [report.is_gone for report in look(fleet)] == [True]


def test_a_host_does_not_vanish_because_nobody_looked(fleet: Fleet, clock: FakeClock) -> None:
    """Redis was away for a week, or its clock jumped by one: nobody could hear the heartbeats."""
    base = ephemeral(fleet, clock)
    look(fleet)
    for _ in range(3):
        clock.advance(7 * DAY)
        assert look(fleet) == []
    fleet.heartbeat("web-1")
    clock.advance(7 * DAY)
    assert look(fleet) == []
    assert len(base) == 2


def test_a_sweep_forgets_within_its_budget_and_the_next_one_goes_on(fleet: Fleet, clock: FakeClock) -> None:
    base = ephemeral(fleet, clock)
    for start in range(0, 3000, 500):
        registered(base, *(f"{n:05}" for n in range(start, start + 500)))
    for _ in range(4):
        look(fleet)
        clock.advance(DAY / 4)
    assert look(fleet, budget_seconds=0) == []
    assert len(base) == 3002
    assert [report.is_gone for report in look(fleet)] == [True]


def test_a_host_that_comes_back_while_a_sweep_forgets_it_is_not_forgotten(
    fleet: Fleet, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    base = ephemeral(fleet, clock)
    for _ in range(4):
        look(fleet)
        clock.advance(DAY / 4)
    hosts, stats = fleet.hosts(), fleet.stats(fleet.volumes())
    fleet.heartbeat("web-1")
    assert forget_silent(fleet, hosts, stats, budget_seconds=10) == []
    assert "was not forgotten: A worker of web-1 is live" in caplog.text
    assert len(base) == 2


def test_an_ephemeral_host_is_forgotten_while_redis_is_full(
    real_client: redis.Redis, clock: FakeClock
) -> None:
    fleet = Fleet(Store(real_client, clock=clock))
    ephemeral(fleet, clock)
    real_client.config_set("maxmemory", "1")
    try:
        for _ in range(4):
            assert look(fleet) == []
            clock.advance(DAY / 4)
        assert [report.is_gone for report in look(fleet)] == [True]
    finally:
        real_client.config_set("maxmemory", "0")


def test_a_retired_host_keeps_its_records_although_it_was_ephemeral(fleet: Fleet, clock: FakeClock) -> None:
    base = ephemeral(fleet, clock)
    assert fleet.retire("web-1")
    for _ in range(10):
        assert look(fleet) == []
        clock.advance(DAY)
    assert len(base) == 2
