"""Jumps of Redis's clock, and a Redis that has less than it had: nothing goes early, and cleaning goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import fakeredis
import pytest
import redis

from conftest import MakeManager
from tempfleet import Settings, TempFileManager, Volume
from tempfleet.cleanup.clock_watch import AHEAD_MS
from tempfleet.registry import PAUSE_SECONDS, Fleet, FleetClock, Pause, Store, Sweep, forget
from tempfleet.registry.clock import AGAIN_SECONDS
from tempfleet.testing import FakeClock

YEAR = 365 * 86400
TTL = 300.0


@dataclass(eq=False)
class FakeHost:
    """The clocks of a host, as a test sets them."""

    boot: float = 1e9
    wall: float = 1_800_000_000_000
    boot_id: str = "first"

    def boot_ms(self) -> float:
        return self.boot

    def wall_ms(self) -> float:
        return self.wall

    def advance(self, seconds: float) -> None:
        self.boot += seconds * 1000
        self.wall += seconds * 1000

    def reboot(self, *, off_seconds: float) -> None:
        self.boot, self.boot_id = 5000.0, self.boot_id + "'"
        self.wall += off_seconds * 1000


MakeOn = Callable[..., TempFileManager]


class World:
    """Redis with its clock, and hosts with theirs. Time passes for all of them; only a jump is Redis's alone."""

    def __init__(self, client: redis.Redis, clock: FakeClock, base_dir: Path) -> None:
        self.client = client
        self.clock = clock
        self.base_dir = base_dir
        self.hosts: list[FakeHost] = [FakeHost()]
        self.managers: list[TempFileManager] = []

    def start(
        self, host: FakeHost | None = None, *, name: str = "web-1", base: str = "base"
    ) -> TempFileManager:
        """Starts a process: a manager that has seen nothing yet."""
        host = host or self.hosts[0]
        if host not in self.hosts:
            self.hosts.append(host)
        directory = str(self.base_dir.parent / base)
        settings = Settings.load(base_dir=directory, host=name, audit_log="")
        manager = TempFileManager(settings=settings, client=self.client, clock=self.clock, host_clock=host)
        self.managers.append(manager)
        return manager

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for host in self.hosts:
            host.advance(seconds)

    def jump(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @property
    def slack_seconds(self) -> float:
        return FleetClock(self.managers[0].store).jumps().slack_ms / 1000


@pytest.fixture
def world(redis_client: redis.Redis, clock: FakeClock, base_dir: Path) -> Iterator[World]:
    world = World(redis_client, clock, base_dir)
    yield world
    for manager in world.managers:
        manager.close()


def files(manager: TempFileManager, count: int = 5, *, ttl: float = TTL, name: str = "f") -> list[Path]:
    paths = [Path(manager.base_dir) / f"{name}{n}" for n in range(count)]
    for path in paths:
        path.write_text("hello")
        manager.register(path, ttl=ttl)
    return paths


def left(paths: list[Path]) -> int:
    return sum(path.exists() for path in paths)


@pytest.mark.parametrize("seconds", [360, YEAR])
def test_a_jump_ahead_deletes_nothing_early_and_cleaning_goes_on(world: World, seconds: float) -> None:
    manager = world.start()
    manager.cleanup()
    paths = files(manager)
    world.advance(10)
    world.jump(seconds)
    assert manager.cleanup() == 0
    assert world.slack_seconds == pytest.approx(seconds, abs=0.1)
    assert manager.stats().slack_ms / 1000 == pytest.approx(seconds, abs=0.1)
    world.advance(TTL - 11)
    assert (manager.cleanup(), left(paths)) == (0, 5)
    world.advance(2)
    assert (manager.cleanup(), left(paths)) == (5, 0)


@pytest.mark.parametrize("age", [0, 60])
def test_not_even_a_file_with_a_second_to_live_goes_early(world: World, age: float) -> None:
    """The tolerance is for noticing a jump, not for what a claim takes."""
    manager = world.start()
    manager.cleanup()
    world.advance(age)
    (path,) = files(manager, 1, ttl=1)
    world.jump(10 + age)
    assert (manager.cleanup(), path.exists()) == (0, True)
    world.advance(1.1)
    assert (manager.cleanup(), path.exists()) == (1, False)


def test_files_that_were_registered_during_a_jump_go_late_and_not_early(world: World) -> None:
    manager = world.start()
    manager.cleanup()
    world.jump(360)
    manager.cleanup()
    paths = files(manager)
    world.advance(TTL + 1)
    assert manager.cleanup() == 0
    world.advance(360)
    assert (manager.cleanup(), left(paths)) == (5, 0)


def test_the_claim_that_meets_a_jump_first_takes_nothing(world: World) -> None:
    """Not only the second one: the caller's clock bounds what a claim takes."""
    manager = world.start()
    manager.cleanup()
    files(manager)
    world.jump(YEAR)
    claim = manager.registry.claim(limit=10, lease_ms=1000, horizon=manager.cleaner.clock.horizon())
    assert claim.records == ()
    assert manager.stats().slack_ms == 0


def test_neither_a_jump_nor_its_end_changes_the_time_of_holds_and_leases(world: World) -> None:
    manager = world.start()
    manager.cleanup()
    held, leased = files(manager, 2, ttl=1)
    manager.hold(held, 400)
    world.advance(2)
    claim = manager.registry.claim(limit=1, lease_ms=60_000)
    assert [record.path for record in claim.records] == [str(leased)]
    world.jump(1000)
    manager.cleanup()
    assert manager.get_record(held).state == "held"  # type: ignore[union-attr]
    assert manager.get_record(leased).state == "leased"  # type: ignore[union-attr]
    world.advance(61)
    manager.cleanup()
    assert (leased.exists(), held.exists()) == (False, True)
    world.advance(340)
    manager.cleanup()
    assert not held.exists()


def test_a_slewed_clock_and_a_small_step_are_no_jump(world: World) -> None:
    manager = world.start()
    manager.cleanup()
    for _ in range(20):
        world.advance(15)
        world.jump(1.4)
        manager.cleanup()
    world.advance(15)
    world.jump(3.4)
    manager.cleanup()
    assert world.slack_seconds == 0
    world.advance(15)
    world.jump(3.6)
    manager.cleanup()
    assert world.slack_seconds == pytest.approx(3.6, abs=0.01)


def test_the_slack_shrinks_when_redis_steps_back(world: World, caplog: pytest.LogCaptureFixture) -> None:
    manager = world.start()
    manager.cleanup()
    paths = files(manager)
    world.jump(3600)
    manager.cleanup()
    world.advance(10)
    world.jump(-600)
    manager.cleanup()
    assert world.slack_seconds == pytest.approx(3000, abs=0.1)
    assert "back by 10 min. Deadlines pass 50 min later now" in caplog.text
    world.jump(-3000)
    manager.cleanup()
    assert caplog.records[-1].getMessage().endswith("back by 50 min. Its jumps delay no deadline now")
    stats = manager.stats()
    assert (world.slack_seconds, stats.slack_ms, stats.pause) == (0, 0, None)
    assert left(paths) == 5
    world.advance(TTL)
    assert (manager.cleanup(), left(paths)) == (5, 0)


def test_a_person_ends_the_slack_of_all_volumes(world: World) -> None:
    first, second = world.start(), world.start(base="second")
    for manager in (first, second):
        manager.cleanup()
        files(manager)
    world.jump(360)
    first.cleanup()
    assert second.stats().slack_ms == first.stats().slack_ms > 0
    assert first.accept_clock() == pytest.approx(360, abs=0.1)
    assert (first.stats().slack_ms, second.stats().slack_ms, world.slack_seconds) == (0, 0, 0)
    assert (first.cleanup(), second.cleanup()) == (5, 5)
    assert world.slack_seconds == 0
    assert world.start(base="second").cleanup() == 0
    assert world.slack_seconds == 0


def test_several_hosts_and_volumes_add_one_jump_once(world: World) -> None:
    managers = [
        world.start(FakeHost(boot=n * 1e6, wall=n * 1e9), name=f"web-{n}", base=base)
        for n in (1, 2, 3)
        for base in (f"a{n}", f"b{n}")
    ]
    for manager in managers:
        manager.cleaner.clock.check()
        files(manager, 1)
    world.advance(5)
    world.jump(1000)
    for _ in range(2):
        for manager in managers:
            assert manager.cleanup() == 0
        world.advance(5)
    assert world.slack_seconds == pytest.approx(1000, abs=0.1)
    slacks = {manager.stats().slack_ms for manager in managers}
    assert slacks == {round(world.slack_seconds * 1000)}


def test_of_two_hosts_that_noticed_the_same_jump_at_the_same_instant_one_adds_it(
    world: World, store: Store
) -> None:
    clock = FleetClock(store)
    world.start().cleanup()
    seen = [clock.jumps(), clock.jumps()]
    assert [clock.change(jumps, jumped_ms=5000, slack_ms=5000) for jumps in seen] == [True, False]
    assert clock.jumps() == (1, 5000, 5000)


def test_a_volume_whose_copy_was_lost_between_gets_it_from_its_own_host(world: World) -> None:
    """The process that recorded the jump was killed before it had copied it."""
    manager = world.start()
    manager.cleanup()
    files(manager)
    world.jump(360)
    clock = FleetClock(manager.store)
    assert clock.change(clock.jumps(), jumped_ms=360_000, slack_ms=360_000)
    assert manager.cleanup() == 0
    assert world.slack_seconds == 360
    assert manager.stats().slack_ms == 360_000


def test_a_process_that_starts_after_the_jump_notices_it_by_the_record_on_disk(world: World) -> None:
    first = world.start()
    first.cleanup()
    paths = files(first)
    world.advance(30)
    world.jump(YEAR)
    assert world.start().cleanup() == 0
    assert world.slack_seconds == pytest.approx(YEAR, abs=0.1)
    world.advance(30)
    assert world.start().cleanup() == 0
    assert world.slack_seconds == pytest.approx(YEAR, abs=0.1)
    world.advance(TTL)
    assert (world.start().cleanup(), left(paths)) == (5, 0)


def test_a_jump_while_the_host_was_off_is_noticed_by_its_time_of_day(world: World) -> None:
    first = world.start()
    first.cleanup()
    paths = files(first, ttl=7200)
    world.clock.advance(3600)
    world.hosts[0].reboot(off_seconds=3600)
    world.jump(YEAR)
    assert (world.start().cleanup(), left(paths)) == (0, 5)
    assert world.slack_seconds == pytest.approx(YEAR, abs=0.1)


def test_a_reboot_without_a_jump_changes_nothing(world: World) -> None:
    first = world.start()
    first.cleanup()
    paths = files(first)
    world.clock.advance(3600)
    world.hosts[0].reboot(off_seconds=3600)
    assert (world.start().cleanup(), left(paths)) == (5, 0)
    assert world.slack_seconds == 0


@pytest.mark.parametrize("wrong_seconds", [-YEAR, YEAR])
def test_a_wrong_clock_of_a_host_changes_nothing(world: World, wrong_seconds: float) -> None:
    """Wrong from the beginning, or set while it runs."""
    world.hosts[0].wall += wrong_seconds
    manager = world.start()
    paths = files(manager)
    manager.cleaner.clock.check()
    world.hosts[0].wall -= 2 * wrong_seconds
    world.advance(TTL - 1)
    assert (manager.cleanup(), left(paths)) == (0, 5)
    world.advance(2 if wrong_seconds > 0 else PAUSE_SECONDS)
    assert (manager.cleanup(), left(paths)) == (5, 0)
    assert world.slack_seconds == 0


def test_the_wrong_clock_of_a_rebooted_host_is_no_jump_if_another_host_is_live(world: World) -> None:
    first = world.start()
    first.cleanup()
    other = FakeHost()
    world.hosts.append(other)
    world.clock.advance(3600)
    other.advance(3600)
    world.hosts[0].reboot(off_seconds=-YEAR)
    Fleet(first.store).heartbeat("web-2")
    world.start().cleanup()
    assert world.slack_seconds == 0


def test_a_process_that_was_stopped_notices_no_jump(world: World) -> None:
    """The clock since the boot goes on while a process is stopped or the host is suspended."""
    manager = world.start()
    manager.cleanup()
    paths = files(manager)
    world.advance(86400)
    assert (manager.cleanup(), left(paths)) == (5, 0)
    assert (world.slack_seconds, manager.stats().pause) == (0, None)


def test_at_a_first_start_with_redis_far_ahead_nothing_expires_for_ten_minutes(world: World) -> None:
    paths = files(world.start())
    world.advance(TTL)
    world.hosts[0].wall -= AHEAD_MS + 1000
    manager = world.start()
    assert (manager.cleanup(), manager.stats().due, left(paths)) == (0, 0, 5)
    assert manager.stats().pause == Pause("ahead", PAUSE_SECONDS)
    world.advance(PAUSE_SECONDS - 1)
    assert world.start().cleanup() == 0
    world.advance(1)
    assert (world.start().cleanup(), left(paths)) == (5, 0)
    assert world.slack_seconds == 0


def test_a_host_without_a_record_does_not_pause_its_volume_at_each_start(world: World) -> None:
    files(world.start(), 1)
    world.hosts[0].wall -= AHEAD_MS + 1000
    record = world.base_dir / f".tempfleet-{os.geteuid()}" / "clock.json"
    for _ in range(3):
        world.start().cleanup()
        record.unlink()
        world.advance(PAUSE_SECONDS / 2)
    assert world.start().stats().pause is None
    world.advance(AGAIN_SECONDS)
    record.unlink(missing_ok=True)
    files(world.managers[0], 1)
    world.start().cleanup()
    assert world.start().stats().pause is not None


def test_a_forced_clean_up_does_not_wait_for_a_clock(world: World) -> None:
    paths = files(world.start())
    world.hosts[0].wall -= AHEAD_MS + 1000
    manager = world.start()
    assert manager.cleanup() == 0
    assert (manager.cleanup(force=True), left(paths)) == (5, 0)


def test_claims_pause_when_the_time_of_redis_is_older_than_it_was(world: World) -> None:
    manager = world.start()
    manager.cleanup()
    files(manager, ttl=1)
    world.advance(5)
    world.jump(-3600)
    assert manager.cleanup() == 0
    pause = manager.stats().pause
    assert pause is not None and pause.reason == "older"
    assert manager.cleanup(force=True) == 0
    world.advance(3600 + PAUSE_SECONDS)
    assert manager.cleanup() == 5


def dump(client: redis.Redis) -> dict[bytes, bytes]:
    return {key: client.dump(key) for key in client.keys("*")}


def load(client: redis.Redis, contents: dict[bytes, bytes]) -> None:
    client.flushall()
    for key, value in contents.items():
        client.restore(key, 0, value)


@pytest.mark.parametrize("restarted", [True, False], ids=["a worker that starts", "a worker that runs"])
def test_claims_pause_when_redis_has_an_old_dump(world: World, restarted: bool) -> None:
    """The renewal is lost, so the file would go early. What to do about it needs time."""
    manager = world.start()
    files(manager, 1, ttl=1, name="old")
    (renewed,) = files(manager, 1, ttl=100, name="renewed")
    contents = dump(world.client)
    world.advance(2)
    assert manager.cleanup() == 1
    manager.renew(renewed, ttl=10_000)
    world.advance(20)
    manager.cleaner.clock.save()
    load(world.client, contents)
    world.advance(100)
    manager = world.start() if restarted else manager
    assert (manager.cleanup(), renewed.exists()) == (0, True)
    pause = manager.stats().pause
    assert pause is not None and pause.reason == "older"
    world.advance(PAUSE_SECONDS + 1)
    assert manager.cleanup() == 1
    assert world.start().cleanup() == 0
    assert manager.stats().pause is None


@pytest.mark.parametrize("restarted", [True, False], ids=["a worker that starts", "a worker that runs"])
@pytest.mark.parametrize("promise", ["renewal", "hold"])
def test_claims_pause_when_redis_lost_promises_and_no_claim(
    world: World, restarted: bool, promise: str
) -> None:
    manager = world.start()
    (path,) = files(manager, 1, ttl=100)
    assert manager.cleanup() == 0
    contents = dump(world.client)
    world.advance(1)
    if promise == "renewal":
        manager.renew(path, ttl=10_000)
    else:
        manager.hold(path)
    world.advance(20)
    manager.cleaner.clock.check()  # as a heartbeat does
    load(world.client, contents)
    world.advance(100)
    manager = world.start() if restarted else manager
    assert (manager.cleanup(), path.exists()) == (0, True)
    pause = manager.stats().pause
    assert pause is not None and pause.reason == "older"


def test_one_loss_makes_one_pause_however_many_processes_notice_it(world: World) -> None:
    managers = [world.start() for _ in range(3)]
    for manager in managers:
        manager.cleanup()
        files(manager, 1, ttl=1)
        world.advance(2)
        manager.cleanup()
    world.client.flushall()
    files(managers[0], 1, ttl=1)
    for manager in managers:
        manager.cleanup()
        world.advance(PAUSE_SECONDS / 2 + 1)
    assert managers[2].stats().pause is None
    assert managers[2].cleanup() == 1 or managers[1].stats().waiting == 0


def test_a_second_loss_pauses_again(world: World) -> None:
    manager = world.start()
    for _ in range(2):
        files(manager, 1, ttl=1)
        world.advance(PAUSE_SECONDS + 2)
        manager.cleanup()
        world.client.flushall()
        files(manager, 1, ttl=1)
        manager.cleanup()
        assert manager.stats().pause is not None


@pytest.mark.parametrize("restarted", [False, True])
def test_a_host_that_was_forgotten_goes_on_as_a_new_one_and_waits_for_nothing(
    restarted: bool, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis has less than the host knows, and than its continuity record says; but nothing was lost."""
    manager = world.start()
    files(manager, 1)
    manager.cleanup()
    world.advance(1)
    assert forget(Fleet(manager.store), "web-1").is_gone
    manager = world.start() if restarted else manager
    paths = files(manager, 1, ttl=1, name="new")
    world.advance(2)
    assert manager.cleanup() or manager.cleanup()
    assert (left(paths), manager.stats().pause) == (0, None)
    assert "This host was forgotten while it was silent" in caplog.text


def test_an_empty_redis_that_is_not_the_one_of_before_is_not_an_older_one(
    world: World, tmp_path: Path
) -> None:
    """Another server, at another address: the record has an entry for each."""
    other = fakeredis.FakeRedis()
    manager = world.start()
    files(manager, 1, ttl=1)
    world.advance(2)
    assert manager.cleanup() == 1
    world.client, mine = other, world.client
    elsewhere = world.start()
    files(elsewhere, 1, ttl=1)
    world.advance(2)
    assert elsewhere.cleanup() == 1
    world.client = mine
    files(world.start(), 1, ttl=1)
    world.advance(2)
    assert world.start().cleanup() == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"null"])
def test_a_damaged_record_counts_as_none(world: World, content: bytes) -> None:
    manager = world.start()
    manager.cleanup()
    record = Path(manager.roots.base.private.path) / "clock.json"
    entries = json.loads(record.read_bytes())
    record.write_bytes(content)
    assert world.start().cleanup() == 0
    assert json.loads(record.read_bytes()).keys() == entries.keys()
    record.write_text(json.dumps({key: {"sample": 1} for key in entries}))
    assert world.start().cleanup() == 0
    assert json.loads(record.read_bytes()).keys() == entries.keys()


def test_everything_that_compares_with_the_clock_is_right_under_slack(world: World) -> None:
    manager = world.start()
    manager.cleanup()
    paths = files(manager)
    world.advance(10)
    world.jump(3600)
    manager.cleanup()
    stats = manager.stats()
    assert (stats.due, stats.overdue_seconds) == (0, 0)
    assert list(manager.preview()) == []
    assert manager.files_due_within(200) == []
    assert len(manager.files_due_within(300)) == 5
    assert manager.near_expiry() == []
    assert "is due in 4 min 5" in str(manager.explain(paths[0]))
    assert manager.cleanup_report(prefix=str(paths[0])).deleted == 0
    forecast = Fleet(manager.store).forecast([manager.volume], step_seconds=60, steps=6)
    assert forecast == {manager.volume: [0, 0, 0, 0, 5, 0]}
    world.advance(TTL * 0.9)
    assert len(manager.near_expiry()) == 5
    world.advance(TTL * 0.1)
    stats = manager.stats()
    assert stats.due == 5
    assert stats.overdue_seconds == pytest.approx(10, abs=1)
    assert len(list(manager.preview())) == 5
    assert "is due." in str(manager.explain(paths[0]))
    assert manager.cleanup_report(prefix=str(paths[0])).deleted == 1
    assert manager.cleanup() == 4
    lag = manager.stats().histogram("lag")
    assert lag.sum_seconds == pytest.approx(50, abs=5)


def test_a_failed_deletion_is_retried_on_time_under_slack(world: World) -> None:
    manager = world.start()
    manager.cleanup()
    (path,) = files(manager, 1)
    world.jump(YEAR)
    manager.cleanup()
    world.advance(TTL + 1)
    with path.open():
        assert manager.cleanup_report().kept == 1
    world.advance(3600)
    assert manager.cleanup() == 1


def test_a_file_that_was_renewed_after_it_was_found_expired_is_kept(world: World) -> None:
    """By prefix or tag, clean-ups read the records first. The claim looks at the deadline again."""
    manager = world.start()
    (path,) = files(manager, 1, ttl=1)
    world.advance(2)
    now_ms = manager.registry.now_ms()
    manager.renew(path, ttl=100)
    claim = manager.registry.claim_paths([str(path)], lease_ms=1000, until_ms=now_ms, due=True)
    assert claim.records == ()


def test_a_new_volume_beside_a_jump_in_force_goes_late_and_not_early(world: World) -> None:
    first = world.start()
    first.cleanup()
    world.jump(360)
    first.cleanup()
    second = world.start(base="second")
    paths = files(second)
    assert second.cleanup() == 0
    assert world.slack_seconds == pytest.approx(360, abs=0.1)
    world.advance(TTL + 361)
    assert (second.cleanup(), left(paths)) == (5, 0)


def test_the_compare_costs_no_round_trip_for_a_batch(world: World) -> None:
    manager = world.start()
    files(manager, 1, ttl=1)
    world.advance(2)
    manager.cleanup()  # reads once which registry this is
    trips = []
    for count in (0, 50):
        files(manager, count, ttl=1)
        world.advance(2)
        before = manager.store.round_trips
        manager.cleanup()
        trips.append(manager.store.round_trips - before)
    # reap, claim, observe; and with files: another claim and an ack
    assert trips == [3, 5]


def test_sweeps_count_and_reap_with_the_clock(make_manager: MakeManager, world: World) -> None:
    manager = world.start()
    manager.cleanup()
    files(manager, 1)
    other = Volume("web-9", "/srv/other")
    fleet = Fleet(manager.store)
    fleet.announce(other)
    world.jump(3600)
    manager.cleaner.clock.check()
    assert fleet.stats([manager.volume])[manager.volume].due == 0
    assert fleet.stats([other])[other].slack_ms == 3_600_000


@pytest.mark.parametrize("seconds", [1000, -1000])
def test_the_holder_of_a_claim_can_extend_it_after_a_jump(world: World, seconds: float) -> None:
    manager = world.start()
    manager.cleanup()
    (path,) = files(manager, 1, ttl=1)
    world.advance(2)
    claim = manager.registry.claim(limit=1, lease_ms=60_000)
    world.jump(seconds)
    manager.cleanup()
    world.advance(30)
    manager.registry.extend(claim.token, lease_ms=60_000)
    world.advance(50)
    manager.cleanup()
    assert manager.get_record(path).state == "leased"  # type: ignore[union-attr]
    world.advance(PAUSE_SECONDS + 1000)
    manager.cleanup()
    assert not path.exists()


def test_a_claim_that_was_made_during_a_jump_is_not_stuck_when_redis_steps_back(world: World) -> None:
    manager = world.start()
    manager.cleanup()
    (path,) = files(manager, 1)
    world.jump(YEAR)
    manager.cleanup()
    world.advance(TTL)
    assert manager.registry.claim(limit=1, lease_ms=60_000).records
    world.jump(-YEAR)
    manager.cleanup()
    world.advance(61)
    manager.cleanup()
    assert not path.exists()


def test_hosts_and_sweeps_are_shown_as_they_are_after_a_step_back(world: World) -> None:
    manager = world.start()
    fleet = Fleet(manager.store)
    sweep = Sweep(host="web-1", seconds=1, volumes=1, due=0, sent=0, recovered=0, silent_due=0)
    world.jump(YEAR)
    fleet.heartbeat("died")
    for _ in range(30):
        fleet.record_sweep(sweep)
    world.jump(-YEAR)
    fleet.heartbeat("lives")
    fleet.record_sweep(sweep)
    assert fleet.live_hosts() == {"lives"}
    now_ms, sweeps = fleet.sweeps()
    assert [at_ms for at_ms, _ in sweeps] == [now_ms]


def test_claims_of_another_thread_during_a_look_are_no_loss(world: World) -> None:
    """The look was answered before the claim, and is compared with what was known before it."""
    manager = world.start()
    manager.cleanup()
    files(manager, 1, ttl=1)
    world.advance(2)
    watch = manager.cleaner.clock
    host = world.hosts[0]

    class Interrupted(FakeHost):
        def boot_ms(self) -> float:
            # the second call of a look: Redis has answered
            calls.append(1)
            if len(calls) == 2:
                assert manager.cleanup() == 1
            return host.boot_ms()

    calls: list[int] = []
    watch.host = Interrupted()
    watch.check()
    assert len(calls) > 2
    assert manager.stats().pause is None


def test_files_that_were_registered_during_a_jump_can_be_deleted_by_force_after_it(world: World) -> None:
    manager = world.start()
    manager.cleanup()
    world.jump(YEAR)
    manager.cleanup()
    paths = files(manager)
    world.jump(-YEAR)
    assert (manager.cleanup(force=True), left(paths)) == (5, 0)


def test_a_hold_that_lasts_because_of_the_slack_keeps_its_reason(world: World) -> None:
    manager = world.start()
    manager.cleanup()
    (path,) = files(manager, 1)
    manager.hold(path, 60, reason="audit")
    world.jump(3600)
    manager.cleanup()
    manager.hold(path, 60)
    assert "audit" in str(manager.explain(path))


def test_a_jump_and_a_loss_are_recorded_while_redis_is_full(
    real_client: redis.Redis, clock: FakeClock, base_dir: Path
) -> None:
    world = World(real_client, clock, base_dir)
    manager = world.start()
    manager.cleanup()
    files(manager)
    world.jump(3600)
    real_client.config_set("maxmemory", "1")
    try:
        assert manager.cleanup() == 0
        assert (world.slack_seconds, manager.stats().slack_ms) == (3600, 3_600_000)
        world.jump(-7200)
        assert manager.cleanup() == 0
        assert manager.stats().pause is not None
    finally:
        real_client.config_set("maxmemory", "0")
    manager.close()


def test_a_slow_look_at_redis_is_repeated_so_that_the_jump_is_not_missed(world: World) -> None:
    """A process that was stopped while it waited for the reply does not know when Redis looked at its clock."""
    manager = world.start()
    manager.cleanup()
    paths = files(manager)
    host = world.hosts[0]

    class Stopped(FakeHost):
        def boot_ms(self) -> float:
            calls.append(1)
            if len(calls) == 2:
                # the first look: Redis has answered, then the process is stopped for ten minutes
                world.advance(600)
            return host.boot_ms()

    calls: list[int] = []
    world.jump(360)
    manager.cleaner.clock.host = Stopped()
    manager.cleaner.clock.check()
    assert len(calls) >= 4
    assert world.slack_seconds == pytest.approx(360, abs=1)
    manager.cleaner.clock.host = host
    assert left(paths) == 5


def test_accepting_a_jump_does_not_end_a_pause(world: World) -> None:
    manager = world.start()
    manager.cleanup()
    files(manager, 1, ttl=1)
    world.jump(3600)
    manager.cleanup()
    FleetClock(manager.store).pause("older", [manager.volume])
    manager.accept_clock()
    assert manager.stats().pause == Pause("older", PAUSE_SECONDS)
    world.advance(PAUSE_SECONDS - 1)
    assert manager.cleanup() == 0
    world.advance(1)
    assert manager.cleanup() == 1


def on_disk(manager: TempFileManager) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(manager.base_dir).rglob("*") if path.is_file()}


def record_a_jump(world: World) -> None:
    world.jump(3600)
    world.managers[0].cleanup()


def step_back(world: World) -> None:
    record_a_jump(world)
    world.jump(-3600)


def lose_all(world: World) -> None:
    contents = dump(world.client)
    world.advance(12)
    world.managers[0].cleaner.clock.check()
    load(world.client, contents)
    world.advance(TTL)


def jump_late(world: World) -> None:
    world.jump(3600)
    world.advance(TTL)


CLOCKS: dict[str, Callable[[World], None]] = {
    "right": lambda world: None,
    "late": lambda world: world.advance(TTL),
    "jump": lambda world: world.jump(3600),
    "jump and late": jump_late,
    "recorded jump": record_a_jump,
    "recorded jump, then back": step_back,
    "back": lambda world: world.jump(-3600),
    "old dump": lose_all,
}


@pytest.mark.parametrize("change", CLOCKS)
@pytest.mark.parametrize("fresh", [False, True], ids=["a process that runs", "a process that starts"])
@pytest.mark.parametrize("force", [False, True], ids=["due", "force"])
def test_a_dry_run_shows_what_the_clean_up_then_does_and_changes_nothing(
    world: World, change: str, fresh: bool, force: bool
) -> None:
    manager = world.start()
    manager.cleanup()
    files(manager)
    for path in files(manager, 3, name="held", ttl=1):
        manager.hold(path, TTL * 0.9)
    directory = Path(manager.base_dir) / "dir"
    directory.mkdir()
    (directory / "f9").touch()
    manager.register(directory, ttl=1, directory=True)
    manager.register(directory / "f9", ttl=TTL)
    world.advance(12)
    manager.cleanup()
    CLOCKS[change](world)
    asked = world.start() if fresh else manager
    before = (dump(world.client), on_disk(manager))
    expected = {deletion.path for deletion in asked.preview(force=force) if deletion.outcome == "deleted"}
    expected.discard(str(directory))
    texts = {str(path): str(asked.explain(path)) for path in Path(manager.base_dir).rglob("*[0-9]")}
    assert (dump(world.client), on_disk(manager)) == before
    if not force:
        assert {
            path for path, text in texts.items() if "At the next clean-up it will be del" in text
        } == expected

    there = set(on_disk(manager))
    asked.cleanup(force=force)
    assert {path for path in there - set(on_disk(manager)) if ".tempfleet" not in path} == expected


@pytest.mark.parametrize("fresh", [False, True])
def test_explain_names_a_pause_that_a_clean_up_would_make(world: World, fresh: bool) -> None:
    manager = world.start()
    manager.cleanup()
    (path,) = files(manager, 1)
    lose_all(world)
    manager = world.start() if fresh else manager
    text = str(manager.explain(path))
    assert "tempfleet doctor" in text and "At the next clean-up" not in text
    assert not manager.cleaner.clock.outlook().claims(early=True), "evict --dry-run lists nothing"


def test_the_dry_run_of_a_first_start_far_ahead_shows_the_pause_and_makes_none(world: World) -> None:
    files(world.start())
    world.advance(TTL)
    world.hosts[0].wall -= AHEAD_MS + 1000
    manager = world.start()
    assert (list(manager.preview()), manager.stats().pause) == ([], None)
    assert len(list(manager.preview(force=True))) == 5
    assert manager.cleanup() == 0
    world.advance(PAUSE_SECONDS)
    (Path(manager.base_dir) / f".tempfleet-{os.geteuid()}" / "clock.json").unlink()
    assert len(list(world.start().preview())) == 5, "the pause is not repeated so soon"
