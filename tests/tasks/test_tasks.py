"""The tasks, called as functions on a real server: what they do, and what they refuse."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.app.task import Context
from celery.exceptions import Reject, Retry

from support import wait_until
from tempfleet import (
    BatchError,
    FileHeld,
    FileMissing,
    InvalidTag,
    InvalidTTL,
    RegistryUnavailable,
    Settings,
    State,
    TempFileManager,
    UnknownHost,
    UnsafePath,
    Volume,
    VolumeUnavailable,
)
from tempfleet.embedded import EmbeddedServer, broker_url
from tempfleet.errors import MalformedMessage
from tempfleet_tasks import install, make_app, routing
from tempfleet_tasks.messages import ClearRefused
from tempfleet_tasks.messages.sweep import sweep
from tempfleet_tasks.queues import fixed_queue
from tempfleet_tasks.runtime import Runtime
from tempfleet_tasks.worker.bootsteps import beat

NAMES = {
    "tempfleet.register",
    "tempfleet.register_many",
    "tempfleet.renew",
    "tempfleet.unregister",
    "tempfleet.clear",
    "tempfleet.sweep",
    "tempfleet.delete_due",
}


def settings_of(server: EmbeddedServer, base_dir: Path, **values: Any) -> Settings:
    values = {"host": "web-1", "base_dir": str(base_dir), "redis_url": server.unix_url, **values}
    return Settings.load(**values)


@pytest.fixture
def settings(real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path) -> Settings:
    return settings_of(real_server, base_dir)


@pytest.fixture
def app(settings: Settings) -> Iterator[Celery]:
    app = make_app(settings)
    yield app
    app.tempfleet().manager.close()
    app.close()


@pytest.fixture
def runtime(app: Celery) -> Runtime:
    runtime: Runtime = app.tempfleet()
    runtime.fleet.heartbeat("web-1")
    return runtime


@pytest.fixture
def manager(runtime: Runtime) -> TempFileManager:
    return runtime.manager


def make(base_dir: Path, name: str = "a") -> Path:
    base_dir.mkdir(mode=0o700, exist_ok=True)
    path = base_dir / name
    path.write_text("bytes")
    return path


def waiting(app: Celery, queue: str) -> int:
    return routing.waiting_messages(app, fixed_queue(queue))


def rejected(manager: TempFileManager) -> dict[str, int]:
    prefix = "rejected:"
    totals = manager.stats().totals
    return {name.removeprefix(prefix): n for name, n in totals.items() if name.startswith(prefix)}


def test_a_sweep_forgets_ephemeral_hosts_that_were_silent_for_their_time(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path, tmp_path: Path
) -> None:
    """A worker says with its heartbeat that its host is ephemeral, and that it is no more."""
    values = {"heartbeat_seconds": 0.01, "host_live_seconds": 0.05, "cleanup_interval_seconds": 1}
    pod_settings = settings_of(
        real_server, tmp_path / "pod", host="pod-1", host_ephemeral_seconds=0.4, **values
    )
    pod: Runtime = make_app(pod_settings).tempfleet()
    sweeper: Runtime = make_app(settings_of(real_server, base_dir, **values)).tempfleet()
    file = pod.manager.create()
    file.close()
    beat(pod)
    assert sweep(sweeper)["forgotten"] == 0
    wait_until(lambda: sweep(sweeper)["forgotten"] == 1)
    assert os.path.exists(file.path)
    assert "pod-1" not in {volume.host for volume in sweeper.fleet.volumes()}
    assert not real_client.hgetall("tempfleet:ephemeral")
    assert not real_client.hgetall("tempfleet:silence")
    beat(pod)
    assert pod.manager.cleanup() == 0, "the host is back: it goes on as a new one"
    pod.settings = pod_settings.model_copy(update={"host_ephemeral_seconds": 0})
    beat(pod)
    assert not real_client.hgetall("tempfleet:ephemeral")
    for runtime in (pod, sweeper):
        runtime.manager.close()


# -- register, renew, unregister


def test_a_message_registers_a_file_of_this_host(
    app: Celery, manager: TempFileManager, base_dir: Path
) -> None:
    path = make(base_dir)
    app.tasks["tempfleet.register"](str(path), host="web-1", ttl=600, tags=["report"])
    record = manager.get_record(path)
    assert record is not None
    assert (record.deadline_ms - record.registered_ms, record.tags) == (600_000, ("report",))


def test_the_default_time_to_live_is_the_hosts(app: Celery, manager: TempFileManager, base_dir: Path) -> None:
    path = make(base_dir)
    app.tasks["tempfleet.register"](str(path), host="web-1")
    record = manager.get_record(path)
    assert record is not None and record.deadline_ms - record.registered_ms == 3_600_000


def test_one_message_registers_many_files_and_reports_those_it_could_not(
    app: Celery, manager: TempFileManager, base_dir: Path
) -> None:
    paths = [str(make(base_dir, f"{i}")) for i in range(3)]
    with pytest.raises(BatchError) as failed:
        app.tasks["tempfleet.register_many"]([*paths, str(base_dir / "gone")], host="web-1", ttl=60)
    assert set(failed.value.errors) == {str(base_dir / "gone")}
    assert len(manager.files) == 3
    assert rejected(manager) == {"BatchError": 1}


def test_a_message_renews_and_unregisters(app: Celery, manager: TempFileManager, base_dir: Path) -> None:
    path = make(base_dir)
    manager.register(path, ttl=10)
    app.tasks["tempfleet.renew"](str(path), host="web-1", ttl=900)
    record = manager.get_record(path)
    assert record is not None and record.deadline_ms - record.registered_ms > 800_000
    app.tasks["tempfleet.unregister"](str(path), host="web-1")
    assert not manager.is_temp_file(path)
    assert path.exists()


def test_no_message_ends_a_hold(app: Celery, manager: TempFileManager, base_dir: Path) -> None:
    path = make(base_dir)
    manager.register(path, ttl=0.001)
    manager.hold(path, reason="legal hold")
    before = manager.registry.keepers(str(path.resolve()))
    with pytest.raises(FileHeld, match="is held; nothing was changed"):
        app.tasks["tempfleet.unregister"](str(path), host="web-1")
    assert manager.stats().total("rejected:FileHeld") == 1
    app.tasks["tempfleet.renew"](str(path), host="web-1", ttl=0.001)
    app.tasks["tempfleet.register"](str(path), host="web-1", ttl=0.001)
    wait_until(lambda: manager.registry.now_ms() > manager.get_record(path).deadline_ms)  # type: ignore[union-attr]
    assert manager.cleanup() == manager.clear_all() == 0
    assert manager.registry.keepers(str(path.resolve())) == before
    assert not [name for name in app.tasks if "hold" in name]


def test_a_message_may_only_name_files_below_its_roots(
    app: Celery, manager: TempFileManager, base_dir: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    # Code can register the file, because it is below an allowed root.
    manager.register(outside, ttl=60)
    for name, arguments in {
        "tempfleet.register": {"ttl": 1},
        "tempfleet.renew": {"ttl": 1},
        "tempfleet.unregister": {},
    }.items():
        with pytest.raises(UnsafePath):
            app.tasks[name](str(outside), host="web-1", **arguments)
    with pytest.raises(UnsafePath):
        app.tasks["tempfleet.register"](f"{base_dir}/../outside", host="web-1")
    assert manager.is_temp_file(outside)
    assert rejected(manager) == {"UnsafePath": 4}


def test_message_roots_can_be_given(
    real_server: EmbeddedServer, real_client: redis.Redis, tmp_path: Path
) -> None:
    base, more = tmp_path / "base", tmp_path / "more"
    path = make(more)
    app = make_app(settings_of(real_server, base, allowed_roots=(str(more),), message_roots=(str(more),)))
    app.tasks["tempfleet.register"](str(path), host="web-1")
    with pytest.raises(UnsafePath):
        app.tasks["tempfleet.register"](str(make(base)), host="web-1")
    app.tempfleet().manager.close()


MALFORMED: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("tempfleet.register", [], {"host": "web-1"}),
    ("tempfleet.register", [3], {"host": "web-1"}),
    ("tempfleet.register", ["relative"], {"host": "web-1"}),
    ("tempfleet.register", ["/a\0b"], {"host": "web-1"}),
    ("tempfleet.register", ["/a"], {}),
    ("tempfleet.register", ["/a"], {"host": 3}),
    ("tempfleet.register", ["/a"], {"host": "web-1", "ttl": "soon"}),
    ("tempfleet.register", ["/a"], {"host": "web-1", "ttl": -1}),
    ("tempfleet.register", ["/a"], {"host": "web-1", "tags": "report"}),
    ("tempfleet.register", ["/a"], {"host": "web-1", "tags": ["two\nlines"]}),
    ("tempfleet.register_many", [["/a"]], {"host": "web-2", "tags": [""]}),
    ("tempfleet.register", ["/a"], {"host": "web-1", "colour": "red"}),
    ("tempfleet.register", ["/a"], {"host": "web-1", "runtime": 1, "_task": 1}),
    ("tempfleet.register", ["/a\ud800"], {"host": "web-1"}),
    ("tempfleet.register", ["/a\ud800"], {"host": "web-2"}),
    ("tempfleet.renew", ["/a\ud800"], {"host": "web-2"}),
    ("tempfleet.unregister", ["/a\ud800"], {"host": "web-2"}),
    ("tempfleet.register", ["/" + 4096 * "a"], {"host": "web-2"}),
    ("tempfleet.register_many", ["/a"], {"host": "web-1"}),
    ("tempfleet.register_many", [[]], {"host": "web-2"}),
    ("tempfleet.register_many", [["/a", None]], {"host": "web-1"}),
    ("tempfleet.delete_due", ["nonsense"], {}),
    ("tempfleet.delete_due", [None], {}),
    ("tempfleet.delete_due", ["web-2|/base"], {}),
    ("tempfleet.delete_due", ["web-1|/base"], {"runtime": 1}),
    ("tempfleet.clear", [], {}),
    ("tempfleet.clear", [3], {}),
]


@pytest.mark.parametrize(("task", "args", "kwargs"), MALFORMED)
def test_a_malformed_message_is_a_clear_error_and_counted(
    app: Celery, manager: TempFileManager, task: str, args: list[Any], kwargs: dict[str, Any]
) -> None:
    # web-2 is silent: its last heartbeat was in 1970.
    manager.store.client.zadd("tempfleet:hosts", {"web-2": 1})
    with pytest.raises((MalformedMessage, InvalidTag, InvalidTTL)):
        app.tasks[task](*args, **kwargs)
    assert sum(rejected(manager).values()) == 1
    assert len(manager.files) == 0


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("files/a", "path must be absolute; got 'files/a'."),
        ("/a\0b", r"path must not contain NUL; got '/a\x00b'."),
    ],
)
def test_the_error_for_a_path_in_a_message_names_its_fault(app: Celery, path: str, text: str) -> None:
    with pytest.raises(MalformedMessage) as error:
        app.tasks["tempfleet.register"](path, host="web-1")
    assert str(error.value) == text


def test_a_missing_file_is_an_error_and_counted(
    app: Celery, manager: TempFileManager, base_dir: Path
) -> None:
    with pytest.raises(FileMissing):
        app.tasks["tempfleet.register"](str(base_dir / "gone"), host="web-1")
    assert rejected(manager) == {"FileMissing": 1}


def test_a_message_for_an_unknown_host_is_an_error_and_counted(
    app: Celery, manager: TempFileManager, runtime: Runtime
) -> None:
    with pytest.raises(UnknownHost, match="known: web-1"):
        app.tasks["tempfleet.register"]("/srv/a", host="web-9")
    assert rejected(manager) == {"UnknownHost": 1}


def test_a_message_for_a_live_host_is_forwarded_to_its_own_queue_and_leaves_no_binding(
    app: Celery, runtime: Runtime, real_client: redis.Redis
) -> None:
    runtime.fleet.heartbeat("web-2")
    app.tasks["tempfleet.register"]("/srv/a", host="web-2", ttl=60)
    assert waiting(app, "tempfleet.host.web-2") == 1
    assert [key for key in real_client.keys("_kombu.binding.*") if b"web-2" in key] == []


def test_a_message_for_a_silent_host_is_recorded_and_verified_when_it_returns(
    app: Celery, runtime: Runtime, real_client: redis.Redis, real_server: EmbeddedServer, tmp_path: Path
) -> None:
    base = tmp_path / "base2"
    existing, missing = make(base, "existing"), base / "missing"
    returning: Runtime = make_app(settings_of(real_server, base, host="web-2")).tempfleet()
    manager = returning.manager
    runtime.fleet.announce(manager.volume)
    # The host is silent: its last heartbeat was in 1970.
    real_client.zadd("tempfleet:hosts", {"web-2": 1})

    app.tasks["tempfleet.register"](str(existing), host="web-2", ttl=600)
    app.tasks["tempfleet.register_many"]([str(missing)], host="web-2", ttl=600)
    with pytest.raises(UnsafePath):
        app.tasks["tempfleet.register"]("/etc/passwd", host="web-2")
    assert waiting(app, "tempfleet.host.web-2") == 0
    before = manager.get_record(existing)
    assert before is not None and before.is_unverified

    assert manager.verify_unverified() == 1
    record = manager.get_record(existing)
    assert record is not None and not record.is_unverified and record.identity != before.identity
    assert abs(record.deadline_ms - before.deadline_ms) < 1000
    assert not manager.is_temp_file(missing)
    assert manager.verify_unverified() == 0
    assert manager.stats().imbalance == 0
    manager.close()


def test_a_message_waits_while_the_registry_is_away(
    real_server: EmbeddedServer, real_client: redis.Redis, tmp_path: Path, base_dir: Path
) -> None:
    path = make(base_dir)
    server = EmbeddedServer.start(tmp_path / "registry")
    settings = settings_of(server, base_dir, broker_url=real_server.unix_url)
    app = make_app(settings)
    server.stop()
    task = app.tasks["tempfleet.register"]
    task.push_request(called_directly=False, id="1", retries=0, delivery_info={}, is_eager=False)
    with pytest.raises(Retry) as error:
        task.run(str(path), host="web-1")
    assert isinstance(error.value.exc, RegistryUnavailable)
    assert waiting(app, "tempfleet") == 1
    app.tempfleet().manager.close()


def test_a_message_that_an_app_lets_retry_only_some_times_is_counted_at_the_end(
    settings: Settings, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Celery("theirs", set_as_current=False)
    app.conf.task_annotations = {"*": {"max_retries": 1}}
    install(app, settings)
    manager = app.tempfleet().manager

    def refuse(*_args: object, **_options: object) -> None:
        raise VolumeUnavailable("not mounted")

    monkeypatch.setattr(manager, "register_inspected", refuse)
    result = app.tasks["tempfleet.register"].apply((str(make(base_dir)), "web-1"))
    assert (result.state, rejected(manager)) == ("FAILURE", {"VolumeUnavailable": 1})
    manager.close()
    app.close()


def test_a_message_whose_retry_the_broker_does_not_take_goes_back_to_it(
    real_server: EmbeddedServer, real_client: redis.Redis, tmp_path: Path, base_dir: Path
) -> None:
    """Celery would throw it away: its own retry rejects the message without giving it back."""
    server = EmbeddedServer.start(tmp_path / "away")
    app = make_app(settings_of(server, base_dir))
    server.stop()
    task = app.tasks["tempfleet.register"]
    task.push_request(called_directly=False, id="1", retries=0, delivery_info={}, is_eager=False)
    with pytest.raises(Reject) as error:
        task.run(str(make(base_dir)), host="web-1")
    assert error.value.requeue
    app.tempfleet().manager.close()


# -- sweep and delete


def due_file(manager: TempFileManager, base_dir: Path, name: str = "a") -> Path:
    path = make(base_dir, name)
    record = manager.register(path, ttl=0.001)
    wait_until(lambda: manager.registry.now_ms() >= record.deadline_ms)
    return path


def test_a_sweep_wakes_only_live_hosts_that_have_expired_files(
    app: Celery, runtime: Runtime, manager: TempFileManager, real_client: redis.Redis, base_dir: Path
) -> None:
    due_file(manager, base_dir)
    silent, idle = Volume("web-2", "/base"), Volume("web-3", "/base")
    real_client.zadd("tempfleet:hosts", {"web-2": 1})
    runtime.fleet.heartbeat("web-3")
    for volume in (silent, idle):
        runtime.fleet.announce(volume)
    real_client.zadd("tempfleet:{web-2|/base}:registry", {"/base/x": 1})
    report = app.tasks["tempfleet.sweep"]()
    assert (report["volumes"], report["due"], report["sent"], report["silent_due"]) == (3, 2, 1, 1)
    assert waiting(app, "tempfleet.host.web-1") == 1
    assert waiting(app, "tempfleet.host.web-2") == waiting(app, "tempfleet.host.web-3") == 0


def test_a_sweep_reaps_before_it_counts(app: Celery, manager: TempFileManager, base_dir: Path) -> None:
    due_file(manager, base_dir)
    manager.registry.claim(limit=1, lease_ms=1)
    wait_until(lambda: app.tasks["tempfleet.sweep"]()["recovered"] == 1)
    assert manager.stats().due == 1


def test_while_a_wake_up_waits_no_more_are_added(
    app: Celery, manager: TempFileManager, base_dir: Path
) -> None:
    runtime: Runtime = app.tempfleet()
    runtime.fleet.heartbeat("web-1")
    due_file(manager, base_dir)
    assert [app.tasks["tempfleet.sweep"]()["sent"] for _ in range(3)] == [1, 0, 0]
    assert waiting(app, "tempfleet.host.web-1") == 1
    app.tasks["tempfleet.delete_due"](str(manager.volume))
    due_file(manager, base_dir)
    assert app.tasks["tempfleet.sweep"]()["sent"] == 1


def test_while_a_sweep_waits_no_other_beat_adds_one(app: Celery, runtime: Runtime) -> None:
    sweep = app.tasks["tempfleet.sweep"]
    assert [sweep.apply_async() is not None for _ in range(3)] == [True, False, False]
    assert waiting(app, "tempfleet") == 1


def test_a_sweep_that_the_broker_lost_is_sent_again(
    app: Celery, runtime: Runtime, real_client: redis.Redis
) -> None:
    sweep = app.tasks["tempfleet.sweep"]
    sweep.apply_async()
    # The broker's list.
    real_client.delete("tempfleet")
    assert sweep.apply_async() is not None
    assert waiting(app, "tempfleet") == 1


def test_hosts_are_woken_although_the_registry_is_full(
    real_server: EmbeddedServer, real_client: redis.Redis, tmp_path: Path, base_dir: Path
) -> None:
    with EmbeddedServer.start(tmp_path / "registry", maxmemory="8mb") as server:
        settings = Settings.load(
            host="web-1", base_dir=str(base_dir), redis_url=server.unix_url, broker_url=real_server.unix_url
        )
        app = make_app(settings)
        runtime: Runtime = app.tempfleet()
        runtime.fleet.heartbeat("web-1")
        due_file(runtime.manager, base_dir)
        runtime.manager.store.client.config_set("maxmemory", "1")
        assert app.tasks["tempfleet.sweep"]()["sent"] == 1
        assert app.tasks["tempfleet.sweep"].apply_async() is not None
        runtime.manager.close()


def test_delete_due_deletes_expired_files_and_reports_them(
    app: Celery, manager: TempFileManager, base_dir: Path
) -> None:
    paths = [due_file(manager, base_dir, str(i)) for i in range(3)]
    kept = make(base_dir, "kept")
    manager.register(kept, ttl=600)
    report = app.tasks["tempfleet.delete_due"](str(manager.volume))
    assert (report["deleted"], report["freed_bytes"] > 0, report["finished"]) == (3, True, True)
    assert not any(path.exists() for path in paths)
    assert kept.exists()


def test_a_worker_serves_the_other_volumes_of_its_host_that_lie_inside_its_roots(
    app: Celery, runtime: Runtime, real_server: EmbeddedServer, tmp_path: Path
) -> None:
    base = tmp_path / "another"
    other = TempFileManager(settings=settings_of(real_server, base))
    path = due_file(other, base)
    assert app.tasks["tempfleet.delete_due"](str(other.volume))["deleted"] == 1
    assert not path.exists()
    other.close()


def test_a_worker_does_not_clean_a_volume_outside_its_roots(
    real_server: EmbeddedServer, real_client: redis.Redis, tmp_path: Path
) -> None:
    base, allowed, foreign = tmp_path / "base", tmp_path / "allowed", tmp_path / "foreign"
    allowed.mkdir()
    app = make_app(settings_of(real_server, base, allowed_roots=(str(allowed),)))
    other = TempFileManager(settings=settings_of(real_server, foreign))
    path = due_file(other, foreign)
    with pytest.raises(VolumeUnavailable, match="TEMP_FILE_ALLOWED_ROOTS"):
        app.tasks["tempfleet.delete_due"](str(other.volume))
    assert path.exists()
    record = other.get_record(path)
    assert record is not None and record.state is State.WAITING
    assert any("(outside-roots)" in warning for warning in other.health_check()["warnings"])
    app.tempfleet().manager.close()
    wider = make_app(settings_of(real_server, base, allowed_roots=(str(foreign),))).tempfleet()
    assert wider.clean(other.volume).deleted == 1
    assert other.stats().not_served == ""
    wider.manager.close()
    other.close()


def test_a_clean_up_that_runs_out_of_time_sends_itself_to_continue(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path
) -> None:
    app = make_app(settings_of(real_server, base_dir, timeout_seconds=1e-9))
    manager = app.tempfleet().manager
    app.tempfleet().fleet.heartbeat("web-1")
    due_file(manager, base_dir)
    report = app.tasks["tempfleet.delete_due"](str(manager.volume))
    assert (report["finished"], report["handed_back"]) == (False, 1)
    assert waiting(app, "tempfleet.host.web-1") == 1
    manager.close()


def test_clearing_a_silent_host_is_an_error(
    app: Celery, manager: TempFileManager, real_client: redis.Redis
) -> None:
    real_client.zadd("tempfleet:hosts", {"web-2": 1})
    with pytest.raises(UnknownHost, match="web-2 is silent"):
        app.tasks["tempfleet.clear"](host="web-2")
    assert rejected(manager) == {"UnknownHost": 1}


def test_clearing_by_message_is_refused_unless_the_host_allows_it(
    app: Celery, manager: TempFileManager, real_server: EmbeddedServer, base_dir: Path
) -> None:
    path = make(base_dir)
    manager.register(path, ttl=600)
    with pytest.raises(ClearRefused):
        app.tasks["tempfleet.clear"](host="web-1")
    assert path.exists()
    willing = make_app(settings_of(real_server, base_dir, remote_clear=True))
    assert willing.tasks["tempfleet.clear"](host="web-1")["deleted"] == 1
    assert not path.exists()
    willing.tempfleet().manager.close()


# -- install


def test_installing_does_not_change_the_apps_settings_or_other_apps(
    settings: Settings,
) -> None:
    app, bystander = Celery("theirs", set_as_current=False), Celery("bystander", set_as_current=False)
    before = {key: app.conf[key] for key in app.conf}
    install(app, settings)
    after = {key: app.conf[key] for key in app.conf}
    assert {key for key in after if after[key] != before.get(key)} <= {"beat_schedule"}
    assert set(app.tasks) >= NAMES
    assert not NAMES & set(bystander.tasks)


def test_installing_twice_changes_nothing(settings: Settings) -> None:
    app = Celery("theirs", set_as_current=False)
    assert install(app, settings) is install(app, settings)
    assert len([step for step in app.steps["worker"] if step.__name__ == "TempfleetHost"]) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_timetable_has_the_sweep_whenever_the_app_is_configured(settings: Settings, when: str) -> None:
    app = Celery("theirs", set_as_current=False)
    if when == "after":
        app.conf.update(timezone="UTC")
    install(app, settings)
    if when == "before":
        app.conf.update(timezone="UTC")
    app.finalize()
    entry = app.conf.beat_schedule["tempfleet.sweep"]
    assert (entry["task"], entry["schedule"], entry["options"]["expires"]) == ("tempfleet.sweep", 300, 300)


def test_only_json_messages_are_sent_and_accepted(app: Celery) -> None:
    assert app.conf.accept_content == ["json"]
    assert {app.tasks[name].serializer for name in NAMES} == {"json"}


@pytest.mark.parametrize(
    ("accepted", "expected"), [(["json", "yaml"], "json"), (["application/json"], "json"), (["yaml"], "yaml")]
)
def test_our_messages_are_json_unless_the_app_refuses_it(
    settings: Settings, accepted: list[str], expected: str
) -> None:
    app = Celery("theirs", set_as_current=False)
    install(app, settings)
    app.conf.update(accept_content=accepted, task_serializer="yaml")
    assert {app.tasks[name].serializer for name in NAMES} == {expected}
    assert routing.serializer_of(app) == expected


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("text", "application/json"),
        ([1, [2]], "application/json"),
        ({1: "a number"}, "application/x-python-serialize"),
        (Path("/srv"), "application/x-python-serialize"),
    ],
    ids=repr,
)
def test_a_message_that_is_sent_on_keeps_what_json_cannot_carry(
    settings: Settings, real_client: redis.Redis, argument: object, expected: str
) -> None:
    app = Celery("theirs", broker=broker_url(settings.effective_broker_url), set_as_current=False)
    install(app, settings)
    app.conf.accept_content = ["json", "pickle"]
    callback = dict(app.signature("shop.note", args=(argument,)))
    request = Context(task="tempfleet.renew", id="i", args=("/srv/a",), kwargs={}, callbacks=[callback])
    routing.send_on(app, request, routing.host_queue(settings, "web-2"))
    with app.connection_for_read() as connection:
        message = connection.SimpleQueue("tempfleet.host.web-2", accept=[expected]).get(block=False)
    assert message.content_type == expected
    assert list(message.payload[2]["callbacks"][0]["args"]) == [argument]
    app.close()


@pytest.mark.parametrize("how", ["a sweep wakes a host", "beat sends a sweep"])
def test_the_apps_routes_lead_none_of_our_own_messages_elsewhere(
    settings: Settings, base_dir: Path, how: str
) -> None:
    app = Celery("theirs", broker=broker_url(settings.effective_broker_url), set_as_current=False)
    app.conf.task_routes = {"*": {"exchange": "shop", "exchange_type": "topic", "routing_key": "orders"}}
    install(app, settings)
    app.tempfleet().fleet.heartbeat("web-1")
    if how == "a sweep wakes a host":
        app.tempfleet().manager.register(make(base_dir), ttl=0.001)
        wait_until(lambda: sweep(app.tempfleet())["sent"])
        assert waiting(app, "tempfleet.host.web-1") == 1
    else:
        app.tasks["tempfleet.sweep"].apply_async()
        assert waiting(app, "tempfleet") == 1
    app.tempfleet().manager.close()
    app.close()


@pytest.mark.process
def test_importing_the_tasks_reads_nothing_and_connects_to_nothing(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import tempfleet, tempfleet_tasks; print('imported')"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "", "TEMP_FILE_MAX_AGE": "nonsense"},
        check=False,
    )
    assert (result.stdout, result.stderr) == ("imported\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("task", ["tempfleet.register", "tempfleet.register_many"])
def test_a_registration_is_tried_again_while_the_base_directory_is_away(
    task: str,
    settings: Settings,
    manager: TempFileManager,
    base_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also by a process that has not opened it yet, and makes another one there."""
    # Below the system's own, a directory may be created anew.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    path = make(base_dir)
    manager.register(path)
    base_dir.rename(tmp_path / "away")
    other = make_app(settings)
    fresh: Runtime = other.tempfleet()
    kwargs = {"path": str(path)} if task == "tempfleet.register" else {"paths": [str(path)]}
    try:
        with pytest.raises(VolumeUnavailable):
            other.tasks[task].run(host="web-1", **kwargs)
    finally:
        fresh.manager.close()
        other.close()
    assert rejected(manager) == {}
