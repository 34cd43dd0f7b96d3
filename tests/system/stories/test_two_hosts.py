"""The main job, with real workers and a real beat: two hosts share a Redis, and each deletes only its own files."""

from __future__ import annotations

from pathlib import Path

from celery import Celery

from processes import Beat, Worker, files_in, manager_of
from support import wait_until
from tempfleet import TempFileManager
from tempfleet.embedded import EmbeddedServer, broker_url
from tempfleet.registry.fleet import Fleet


def make(base_dir: Path, name: str, size: int = 100) -> Path:
    base_dir.mkdir(mode=0o700, exist_ok=True)
    path = base_dir / name
    path.write_bytes(b"x" * size)
    return path


def any_app(server: EmbeddedServer) -> Celery:
    """Returns an app without Tempfleet code; it has only the address of our broker."""
    return Celery("theirs", broker=broker_url(server.unix_url), set_as_current=False)


def fleet_of(manager: TempFileManager) -> Fleet:
    return Fleet(manager.store, live_seconds=3)


def is_empty(manager: TempFileManager, base_dir: Path) -> bool:
    return len(manager.files) == 0 and files_in(base_dir) == []


def test_files_registered_by_library_and_by_name_are_deleted_by_their_own_hosts(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    url, bases = server.unix_url, {host: tmp_path / host / "base" for host in ("web-1", "web-2")}
    managers = {host: manager_of(host, base, url) for host, base in bases.items()}
    app = any_app(server)
    with (
        Worker("web-1", bases["web-1"], url, tmp_path) as first,
        Worker("web-2", bases["web-2"], url, tmp_path) as second,
        Beat(url, tmp_path) as beat,
    ):
        first.wait_until_ready()
        second.wait_until_ready()
        for host, other in (("web-1", "web-2"), ("web-2", "web-1")):
            managers[host].register_many([make(bases[host], f"lib{i}") for i in range(50)], ttl=0.5)
            for i in range(20):  # sent from the other host, to a queue that both read
                named = make(bases[other], f"named{i}")
                app.send_task(
                    "tempfleet.register",
                    args=[str(named)],
                    kwargs={"host": other, "ttl": 0.5},
                    queue="tempfleet",
                )
        for host, manager in managers.items():
            wait_until(lambda manager=manager: manager.stats().total("deleted") == 70, 30)
            stats = manager.stats()
            assert is_empty(manager, bases[host])
            assert (stats.total("registered"), stats.imbalance, stats.total("missing")) == (70, 0, 0)
            assert stats.total("deleted_bytes") > 0
        assert [path.name for path in beat.directory.iterdir()] == []  # no shelve file
        assert (first.stop(), second.stop()) == (0, 0)


def test_only_its_own_host_deletes_a_file_however_long_that_host_is_silent(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    url, base1, base2 = server.unix_url, tmp_path / "base1", tmp_path / "base2"
    manager = manager_of("web-2", base2, url)
    with Worker("web-1", base1, url, tmp_path) as first, Beat(url, tmp_path):
        with Worker("web-2", base2, url, tmp_path) as second:
            second.wait_until_ready()
            wait_until(lambda: "web-2" in fleet_of(manager).live_hosts())
            second.kill()
        wait_until(lambda: "web-2" not in fleet_of(manager).live_hosts())
        path = make(base2, "kept")
        unverified = make(base2, "unverified")
        manager.register(path, ttl=0.1)
        any_app(server).send_task(
            "tempfleet.register",
            args=[str(unverified)],
            kwargs={"host": "web-2", "ttl": 0.1},
            queue="tempfleet",
        )
        sweeps = first.wait_until_ready().output.count("tempfleet.sweep") + 6
        wait_until(lambda: first.output.count("tempfleet.sweep") > sweeps)
        assert path.exists() and unverified.exists()
        assert manager.store.client.llen("tempfleet.host.web-2") == 0
        with Worker("web-2", base2, url, tmp_path):
            wait_until(lambda: is_empty(manager, base2))
    assert manager.stats().total("deleted") == 2


def test_a_worker_continues_after_redis_was_killed_and_restarted(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    url, base = server.unix_url, tmp_path / "base"
    manager = manager_of("web-1", base, url)
    with Worker("web-1", base, url, tmp_path) as worker, Beat(url, tmp_path):
        worker.wait_until_ready()
        before = make(base, "before")
        manager.register(before, ttl=1)
        wait_until(lambda: manager.stats().waiting == 1)
        server.stop()
        with EmbeddedServer.start(server.directory):
            wait_until(lambda: not before.exists(), 90)
            after = make(base, "after")
            any_app(server).send_task(
                "tempfleet.register",
                args=[str(after)],
                kwargs={"host": "web-1", "ttl": 0.1},
                queue="tempfleet",
            )
            wait_until(lambda: not after.exists() and len(manager.files) == 0, 90)
            assert manager.stats().imbalance == 0
            worker.kill()


def test_a_worker_that_starts_before_its_broker_waits_for_it(server: EmbeddedServer, tmp_path: Path) -> None:
    url, base = server.unix_url, tmp_path / "base"
    manager = manager_of("web-1", base, url)
    path = make(base, "a")
    manager.register(path, ttl=0.1)
    server.stop()
    with Worker("web-1", base, url, tmp_path) as worker:
        wait_until(lambda: "Cannot connect to" in worker.output)
        with EmbeddedServer.start(server.directory), Beat(url, tmp_path):
            wait_until(lambda: not path.exists(), 90)
            worker.kill()


def test_without_beat_and_broker_the_workers_own_timer_cleans(server: EmbeddedServer, tmp_path: Path) -> None:
    base = tmp_path / "base"
    manager = manager_of("web-1", base, server.unix_url)
    dead = f"unix://{tmp_path}/nobody.sock"
    with Worker(
        "web-1", base, server.unix_url, tmp_path, TEMP_FILE_BROKER_URL=dead, TEMP_FILE_TIMER_INTERVAL="0.5"
    ) as worker:
        wait_until(lambda: "Cannot connect to" in worker.output)
        path = make(base, "a")
        manager.register(path, ttl=0.1)
        wait_until(lambda: not path.exists())


def test_sweeps_do_not_pile_up_while_no_worker_runs(server: EmbeddedServer, tmp_path: Path) -> None:
    manager = manager_of("web-1", tmp_path / "base", server.unix_url)
    with Beat(server.unix_url, tmp_path) as beat:
        wait_until(lambda: beat.output.count("Sending due task") >= 6)
    assert manager.store.client.llen("tempfleet") == 1


def test_any_app_serves_its_host_with_one_call_in_any_pool_and_with_any_queues(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    url, base = server.unix_url, tmp_path / "base"
    manager = manager_of("web-1", base, url)
    app_directory = tmp_path / "web-1"
    app_directory.mkdir()
    (app_directory / "shop.py").write_text(
        "from celery import Celery\n"
        "import tempfleet_tasks\n"
        f"app = Celery('shop', broker={broker_url(url)!r})\n"
        "tempfleet_tasks.install(app)\n"
        "@app.task\n"
        "def order(): return 'ordered'\n"
    )
    arguments = ("-P", "prefork", "-c", "1", "-Q", "orders", "-B", "-S", "celery.beat:Scheduler")
    with Worker("web-1", base, url, tmp_path, app="shop", arguments=arguments) as worker:
        worker.wait_until_ready()
        path = make(base, "a")
        any_app(server).send_task(
            "tempfleet.register", args=[str(path)], kwargs={"host": "web-1", "ttl": 0.1}, queue="tempfleet"
        )
        wait_until(lambda: "tempfleet.register" in worker.output)
        wait_until(lambda: not path.exists() and len(manager.files) == 0)


def test_a_pod_that_is_gone_is_forgotten_by_the_workers_that_are_left(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    """If it comes back nevertheless, it goes on as a new host, and can adopt its files."""
    url, base = server.unix_url, tmp_path / "pod"
    pod = manager_of("pod-1", base, url)
    fleet = fleet_of(pod)

    def start() -> Worker:
        worker = Worker("pod-1", base, url, tmp_path, TEMP_FILE_HOST_EPHEMERAL="3.5")
        wait_until(lambda: "pod-1" in fleet.live_hosts())
        return worker

    with Worker("web-1", tmp_path / "web-1", url, tmp_path) as left, Beat(url, tmp_path):
        left.wait_until_ready()
        kept = [make(base, f"f{n}") for n in range(20)]
        pod.register_many(kept, ttl=600)
        pod.hold(kept[0])
        start().kill()
        wait_until(lambda: {host.name for host in fleet.hosts()} == {"web-1"})
        assert fleet.volumes(host="pod-1") == []
        wait_until(lambda: "Forgot" in left.output)
        assert "Forgot 20 records of the ephemeral host pod-1" in left.output
        assert all(path.exists() for path in kept)
        with start():
            late = make(base, "late")
            pod.register(late, ttl=0.5)
            wait_until(lambda: not late.exists(), 30)
            assert {file.path for file in pod.adopt(idle=0).files} == set(map(str, kept))
    pod.close()
