"""
Messages are confined: what a stranger on the broker can do to files of this host, and to files of a silent one.
On a real server, with real files. A host is silent if its last heartbeat was long ago.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from support import wait_until
from tempfleet import AlreadyClaimed, BatchError, FileHeld, Settings, TempFileManager, UnsafePath
from tempfleet.deletion import failpoints
from tempfleet.embedded import EmbeddedServer
from tempfleet.errors import MalformedMessage
from tempfleet.registry.values import Nack
from tempfleet_tasks import make_app
from tempfleet_tasks.runtime import Runtime
from tempfleet_tasks.worker.bootsteps import clean_host

MakeRuntime = Callable[..., Runtime]


@pytest.fixture
def make_runtime(
    real_server: EmbeddedServer, real_client: redis.Redis, tmp_path: Path
) -> Iterator[MakeRuntime]:
    runtimes: list[Runtime] = []

    def make(host: str, **values: Any) -> Runtime:
        values = {"base_dir": str(tmp_path / host), "redis_url": real_server.unix_url, **values}
        runtime: Runtime = make_app(Settings.load(host=host, **values)).tempfleet()
        runtimes.append(runtime)
        runtime.fleet.announce(runtime.manager.volume)
        return runtime

    yield make
    for runtime in runtimes:
        runtime.manager.close()
        runtime.app.close()


@pytest.fixture
def here(make_runtime: MakeRuntime) -> Runtime:
    runtime = make_runtime("web-1")
    runtime.fleet.heartbeat("web-1")
    return runtime


Silence = Callable[..., Runtime]


@pytest.fixture
def silent(make_runtime: MakeRuntime, here: Runtime, real_client: redis.Redis) -> Silence:
    """Creates the runtime of web-2, a silent host. A test uses it as the host that returns."""

    def make(**values: Any) -> Runtime:
        runtime = make_runtime("web-2", **values)
        real_client.zadd("tempfleet:hosts", {"web-2": 1})
        return runtime

    return make


def send(runtime: Runtime, task: str, *args: Any, **kwargs: Any) -> None:
    runtime.app.tasks[f"tempfleet.{task}"](*args, **kwargs)


def file_in(directory: Path, name: str = "a") -> Path:
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / name
    path.write_text("bytes")
    return path


def returns_and_cleans(runtime: Runtime, *, after_ms: int = 0) -> None:
    """Runs one pass of the timer of a host that returns, after *after_ms*."""
    wait_until(lambda: runtime.manager.registry.now_ms() >= after_ms)
    clean_host(runtime, threading.Event())


def deadline_of(manager: TempFileManager, path: Path) -> int:
    record = manager.get_record(path)
    assert record is not None
    return record.deadline_ms


# -- a silent host's files


def test_a_message_cannot_bring_the_deadline_of_a_silent_hosts_file_forward(
    here: Runtime, silent: Silence
) -> None:
    returning = silent()
    path = file_in(Path(returning.settings.base_dir))
    deadline_ms = returning.manager.register(path, ttl=86400, tags=("mine",)).deadline_ms
    send(here, "register", str(path), host="web-2", ttl=0.001)
    assert deadline_of(returning.manager, path) == deadline_ms
    returns_and_cleans(returning)
    assert path.exists()
    record = returning.manager.get_record(path)
    assert record is not None and not record.is_unverified and record.tags == ("mine",)
    assert 0 <= record.deadline_ms - deadline_ms < 1000


def test_no_message_ends_a_hold_of_a_silent_host(here: Runtime, silent: Silence) -> None:
    returning = silent()
    path = file_in(Path(returning.settings.base_dir))
    returning.manager.register(path, ttl=0.001)
    returning.manager.hold(path)
    with pytest.raises(FileHeld):
        send(here, "unregister", str(path), host="web-2")
    send(here, "register", str(path), host="web-2", ttl=0.001)
    returns_and_cleans(returning, after_ms=deadline_of(returning.manager, path) + 1)
    record = returning.manager.get_record(path)
    assert path.exists() and record is not None and record.keepers == 1


def test_a_message_renews_a_file_that_a_silent_host_has_registered(here: Runtime, silent: Silence) -> None:
    returning = silent()
    path = file_in(Path(returning.settings.base_dir))
    deadline_ms = returning.manager.register(path, ttl=60).deadline_ms
    send(here, "register", str(path), host="web-2", ttl=86400)
    assert deadline_of(returning.manager, path) > deadline_ms + 80_000_000
    returns_and_cleans(returning)
    assert deadline_of(returning.manager, path) > deadline_ms + 80_000_000


def _dies_while_it_deletes(runtime: Runtime, path: Path) -> None:
    """A process of the host is killed between the move into the private directory and the unlink."""
    manager = runtime.manager
    claim = manager.registry.claim_paths([str(path)], lease_ms=300, until_ms=manager.registry.now_ms())

    def delete() -> None:
        failpoints.install(lambda point: point == "guarded.moved" and os.kill(os.getpid(), signal.SIGKILL))
        list(manager.cleaner.deleter.delete(claim.records, token=claim.token, may_go_on=lambda: True))

    process = multiprocessing.get_context("fork").Process(target=delete)
    process.start()
    process.join(20)
    assert (process.exitcode, path.exists()) == (-signal.SIGKILL, False)


def test_what_a_message_unregistered_for_a_silent_host_that_died_while_deleting_it_stays(
    here: Runtime, silent: Silence
) -> None:
    returning = silent()
    path = file_in(Path(returning.settings.base_dir))
    returning.manager.register(path, ttl=60)
    _dies_while_it_deletes(returning, path)
    with pytest.raises(AlreadyClaimed):
        send(here, "unregister", str(path), host="web-2")
    wait_until(lambda: here.fleet.registry(returning.manager.volume).reap().recovered)
    send(here, "unregister", str(path), host="web-2")
    returns_and_cleans(returning)
    assert path.read_text() == "bytes"
    assert returning.manager.get_record(path) is None


@pytest.mark.parametrize("ttl", [0.001, 3600])
def test_what_is_registered_again_for_a_silent_host_that_died_while_deleting_it_has_its_new_record(
    here: Runtime, silent: Silence, ttl: float
) -> None:
    """It was unregistered before, so it has its name back first."""
    returning = silent()
    path = file_in(Path(returning.settings.base_dir))
    returning.manager.register(path, ttl=60)
    _dies_while_it_deletes(returning, path)
    wait_until(lambda: here.fleet.registry(returning.manager.volume).reap().recovered)
    send(here, "unregister", str(path), host="web-2")
    send(here, "register", str(path), host="web-2", ttl=ttl)
    returns_and_cleans(returning)
    record = returning.manager.get_record(path)
    assert (record is None, path.exists()) == ((True, False) if ttl < 1 else (False, True))


def test_a_message_cannot_take_a_silent_hosts_file_outside_its_message_roots_out_of_management(
    here: Runtime, silent: Silence, tmp_path: Path
) -> None:
    base = tmp_path / "web-2"
    returning = silent(message_roots=(str(base / "incoming"),))
    path = file_in(base)
    returning.manager.register(path, ttl=86400)
    send(here, "register", str(path), host="web-2", ttl=0.001)
    returns_and_cleans(returning)
    assert path.exists() and returning.manager.is_temp_file(path)


def test_a_name_that_was_used_again_while_its_host_was_silent_is_taken_as_the_new_file(
    here: Runtime, silent: Silence
) -> None:
    returning = silent()
    path = file_in(Path(returning.settings.base_dir))
    returning.manager.register(path, ttl=60)
    path.unlink()
    path.write_text("another")
    send(here, "register", str(path), host="web-2", ttl=600)
    returns_and_cleans(returning)
    record = returning.manager.get_record(path)
    assert record is not None and not record.is_unverified
    assert record.identity == returning.manager.inspect(path).identity


def test_a_created_file_keeps_its_record_whatever_a_message_says_while_its_host_is_silent(
    here: Runtime, silent: Silence
) -> None:
    returning = silent()
    with returning.manager.create(ttl=60).file as file:
        path = Path(file.name)
    send(here, "register", str(path), host="web-2", ttl=600)
    record = returning.manager.get_record(path)
    assert record is not None and record.is_created and not record.is_unverified
    assert record.deadline_ms - record.registered_ms >= 600_000 - 1000


def test_only_the_message_roots_of_a_host_that_returns_count_in_all_of_its_volumes(
    here: Runtime, silent: Silence, real_server: EmbeddedServer, tmp_path: Path
) -> None:
    another = tmp_path / "another"
    library = TempFileManager(another, host="web-2", redis_url=real_server.unix_url)
    library.register(file_in(another, "registered"), ttl=600)
    returning, victim = silent(), file_in(another, "victim")
    send(here, "register", str(victim), host="web-2", ttl=0.001)
    returns_and_cleans(returning, after_ms=deadline_of(library, victim))
    assert victim.exists()
    library.close()


def test_a_file_younger_than_its_unverified_registration_is_not_adopted(
    here: Runtime, silent: Silence, real_client: redis.Redis
) -> None:
    returning = silent()
    path = Path(returning.settings.base_dir) / "later"
    send(here, "register", str(path), host="web-2", ttl=86400)
    # Make the registration a minute older, instead of waiting.
    key = f"tempfleet:{{{returning.manager.volume}}}:records"
    record = real_client.hget(key, str(path))
    assert record is not None
    version, registered, rest = record.split(b" ", 2)
    real_client.hset(key, str(path), b" ".join((version, b"%d" % (int(registered) - 60_000), rest)))
    path.write_text("made a minute after")
    returns_and_cleans(returning)
    assert path.exists() and not returning.manager.is_temp_file(path)


def test_an_unverified_file_is_quarantined_and_verified_there(here: Runtime, silent: Silence) -> None:
    returning = silent(quarantine_seconds=600)
    path = file_in(Path(returning.settings.base_dir))
    send(here, "register", str(path), host="web-2", ttl=0.001)
    wait_until(lambda: returning.manager.registry.now_ms() >= deadline_of(returning.manager, path))
    assert returning.manager.cleanup_report().set_aside == 1
    assert returning.manager.verify_unverified() == 0
    (quarantined,) = returning.manager.quarantined()
    record = returning.manager.get_record(quarantined.aside_path)
    assert record is not None and record.is_quarantined and not record.is_unverified


def test_a_message_does_not_change_the_record_of_a_file_that_a_silent_host_is_deleting(
    here: Runtime, silent: Silence
) -> None:
    returning = silent()
    path = file_in(Path(returning.settings.base_dir))
    returning.manager.register(path)
    registry = returning.manager.registry
    claim = registry.claim_paths([str(path)], lease_ms=60_000, until_ms=registry.now_ms())
    with pytest.raises(AlreadyClaimed):
        send(here, "register", str(path), host="web-2")
    with pytest.raises(BatchError) as refused:
        send(here, "register_many", [str(path), f"{path}.new"], host="web-2")
    assert (list(refused.value.errors), len(refused.value.records)) == ([str(path)], 1)
    with pytest.raises(AlreadyClaimed):
        send(here, "unregister", str(path), host="web-2")
    assert registry.stats().behind == 0
    assert registry.nack(claim.token, [Nack(str(path), counts=False)]) == 1
    record = returning.manager.get_record(path)
    assert record is not None and not record.is_unverified


def test_a_message_cannot_name_a_file_in_a_silent_hosts_private_directory(
    here: Runtime, silent: Silence
) -> None:
    base = silent().settings.base_dir
    for task in ("register", "renew", "unregister"):
        with pytest.raises(UnsafePath):
            send(here, task, f"{base}/.tempfleet-0/audit.log", host="web-2")


# -- a live host's files


def test_a_message_cannot_delete_a_directory(make_runtime: MakeRuntime) -> None:
    runtime = make_runtime("web-1")
    inside = file_in(Path(runtime.settings.base_dir) / "tree")
    with pytest.raises(UnsafePath):
        send(runtime, "register", str(inside.parent), host="web-1", ttl=1)
    with pytest.raises(MalformedMessage):
        send(runtime, "register", str(inside.parent), host="web-1", ttl=1, directory=True)
    assert not runtime.manager.is_temp_file(inside.parent)


@pytest.mark.parametrize("task", ["register", "renew", "unregister"])
def test_a_symlink_does_not_lead_a_message_outside_its_message_roots(
    make_runtime: MakeRuntime, tmp_path: Path, task: str
) -> None:
    runtime = make_runtime("web-1", allowed_roots=(str(tmp_path),))
    path = file_in(tmp_path / "elsewhere")
    deadline_ms = runtime.manager.register(path, ttl=60).deadline_ms
    os.symlink(path.parent, Path(runtime.settings.base_dir) / "link")
    with pytest.raises(UnsafePath) as refused:
        send(runtime, task, f"{runtime.settings.base_dir}/link/a", host="web-1")
    assert refused.value.reason == "outside-message-roots"
    assert deadline_of(runtime.manager, path) == deadline_ms


@pytest.mark.parametrize("task", ["register", "renew", "unregister"])
def test_a_message_may_name_a_file_by_either_name_of_its_base_directory(
    make_runtime: MakeRuntime, tmp_path: Path, task: str
) -> None:
    path = file_in(tmp_path / "real")
    (tmp_path / "name").symlink_to(tmp_path / "real")
    runtime = make_runtime("web-1", base_dir=str(tmp_path / "name"))
    for named in (path, tmp_path / "name" / "a"):
        runtime.manager.register(path)
        send(runtime, task, str(named), host="web-1")
    assert runtime.manager.is_temp_file(path) == (task != "unregister")


# -- volumes


@pytest.mark.parametrize("name", ["{}/.", "{}/../unheard-of", "/{}", "{}/link"])
def test_a_volume_that_was_never_announced_is_not_opened_or_counted(
    make_runtime: MakeRuntime, real_client: redis.Redis, tmp_path: Path, name: str
) -> None:
    runtime = make_runtime("web-1", allowed_roots=(str(tmp_path),))
    (tmp_path / "unheard-of").mkdir(mode=0o700)
    os.symlink("/usr", Path(runtime.settings.base_dir) / "link")
    keys, open_before = real_client.keys("tempfleet:{*"), len(os.listdir("/proc/self/fd"))
    with pytest.raises(MalformedMessage):
        send(runtime, "delete_due", f"web-1|{name.format(runtime.settings.base_dir)}")
    assert len(os.listdir("/proc/self/fd")) <= open_before
    counted = {key for key in real_client.keys("tempfleet:{*") if key not in keys}
    assert counted <= {f"tempfleet:{{{runtime.manager.volume}}}:stats".encode()}
