"""A worker whose broker goes away, answers with errors or falls silent. It must live, and serve as soon as it can."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import redis
from celery import Celery
from kombu import Queue

from processes import Beat, Worker, manager_of
from proxy import proxy_to
from stack import Stack, fetch_json, stack
from stack import Worker as PagedWorker
from support import wait_until
from tempfleet import Settings, TempFileManager
from tempfleet.embedded import EmbeddedServer, broker_url
from tempfleet.registry.connection import connect
from tempfleet.registry.fleet import Fleet
from tempfleet_tasks import make_app

__all__ = ["stack"]

PLAIN_APP = """
import os, pathlib, time
from celery import Celery
from kombu import Queue
from tempfleet_tasks import install

app = Celery("plain", broker=os.environ["PLAIN_BROKER"], set_as_current=False)
app.conf.task_default_queue = "plain"
install(app)

@app.task(name="plain.wait", acks_late=True)
def wait(directory):
    here = pathlib.Path(directory)
    (here / "started").touch()
    while not (here / "go").exists():
        time.sleep(0.05)
    (here / "done").touch()

@app.task(name="plain.touch")
def touch(path):
    pathlib.Path(path).touch()

@app.task(name="plain.pass_on")
def pass_on(path):
    app.send_task("plain.touch", [path])
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_of_any_app_outlives_a_restart_of_redis_during_a_late_acked_task(
    tmp_path: Path, pool: str
) -> None:
    (tmp_path / "plain_app.py").write_text(PLAIN_APP)
    port = free_port()
    broker = f"redis://127.0.0.1:{port}/0"
    server = EmbeddedServer.start(tmp_path / "server", port=str(port))
    try:
        app = Celery("plain", broker=broker, set_as_current=False)
        app.conf.task_default_queue = "plain"
        with Worker(
            "web-1",
            tmp_path / "base",
            broker,
            tmp_path,
            app="plain_app",
            arguments=("--pool", pool, "--concurrency", "1"),
            PLAIN_BROKER=broker,
            PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]),
        ).wait_until_ready() as worker:
            app.send_task("plain.wait", [str(tmp_path)])
            wait_until((tmp_path / "started").exists)
            server.kill()
            wait_until(lambda: "Connection to broker lost" in worker.output)
            server = EmbeddedServer.start(tmp_path / "server", port=str(port))
            (tmp_path / "go").touch()
            app.send_task("plain.touch", [str(tmp_path / "touched")])
            wait_until(lambda: (tmp_path / "touched").exists() or worker.process.poll() is not None)
            assert worker.process.poll() is None
    finally:
        server.stop()


@dataclass
class Server:
    """A broker that is also the registry, and how it comes to take no writes."""

    server: EmbeddedServer
    client: redis.Redis
    sender: Celery
    attic: Path

    def refuse(self, state: str) -> None:
        if state == "READONLY":
            self.client.replicaof("127.0.0.1", "1")
        elif state == "NOREPLICAS":
            self.client.config_set("min-replicas-to-write", 1)
        elif state == "MISCONF":
            self.client.config_set("dir", str(self.attic))
            self.attic.rmdir()
            self.client.bgsave()
            wait_until(lambda: self.client.info("persistence")["rdb_last_bgsave_status"] == "err")
        elif state == "NOPERM":
            self.client.execute_command("ACL", "SETUSER", "default", "-@write")
        elif state == "OOM":
            # Redis still hands out messages, but the worker cannot record that it has one.
            self.sender.send_task("tempfleet.sweep", queue=Queue("aside"))
            pipeline = self.client.pipeline()
            pipeline.rename("aside", "tempfleet")
            pipeline.config_set("maxmemory", 1)
            pipeline.execute()

    def accept(self, state: str) -> None:
        if state == "READONLY":
            self.client.replicaof("NO", "ONE")
        elif state == "NOREPLICAS":
            self.client.config_set("min-replicas-to-write", 0)
        elif state == "MISCONF":
            self.attic.mkdir()
            self.client.config_set("dir", str(self.attic))
            wait_until(self.is_saved)
        elif state == "NOPERM":
            self.client.execute_command("ACL", "SETUSER", "default", "+@all")
        elif state == "OOM":
            self.client.config_set("maxmemory", 0)

    def is_saved(self) -> bool:
        if not self.client.info("persistence")["rdb_bgsave_in_progress"]:
            self.client.bgsave()
        return self.client.info("persistence")["rdb_last_bgsave_status"] == "ok"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    attic = tmp_path / "attic"
    attic.mkdir()
    options = {"enable_protected_configs": "yes", "save": "3600 1"}
    with EmbeddedServer.start(tmp_path / "server", **options) as running, connect(running.unix_url) as client:
        sender = make_app(Settings.load(base_dir=str(tmp_path / "base"), redis_url=running.unix_url))
        yield Server(running, client, sender, attic)
        sender.close()


def wait_until_refused(worker: Worker) -> None:
    """Wait until *worker* logs once more that Redis refuses it. Fails if the worker ends."""

    def refusals() -> int:
        return worker.output.count("Connection to broker lost") + worker.output.count("Cannot connect to")

    before = refusals()
    wait_until(lambda: refusals() > before or worker.process.poll() is not None)
    assert worker.process.poll() is None, worker.output[-2000:]


def is_registered(manager: TempFileManager, path: Path) -> bool:
    return manager.get_record(path) is not None


def has_swept(fleet: Fleet) -> bool:
    return bool(fleet.sweeps()[1])


STATES = ("READONLY", "NOREPLICAS", "MISCONF", "NOPERM", "OOM")


@pytest.mark.parametrize(("app", "states"), [("plain_app", STATES), ("tempfleet_tasks", STATES[:1])])
def test_a_worker_waits_for_a_redis_that_takes_no_writes(
    server: Server, tmp_path: Path, app: str, states: tuple[str, ...]
) -> None:
    (tmp_path / "plain_app.py").write_text(PLAIN_APP)
    url = server.server.unix_url
    manager = manager_of("web-1", tmp_path / "base", url)
    fleet = Fleet(manager.store)
    beat = Beat(url, tmp_path)
    with (
        beat,
        Worker(
            "web-1",
            tmp_path / "base",
            url,
            tmp_path,
            app=app,
            PLAIN_BROKER=broker_url(url),
            PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]),
        ).wait_until_ready() as worker,
    ):
        for state in states:
            server.refuse(state)
            wait_until_refused(worker)
            server.accept(state)
            path = tmp_path / "base" / state
            path.touch()
            server.sender.send_task(
                "tempfleet.register", [str(path)], {"host": "web-1", "ttl": 3600}, queue="tempfleet"
            )
            wait_until(partial(is_registered, manager, path))
            assert worker.process.poll() is None, state
            assert beat.process.poll() is None, beat.output[-2000:]
            fleet.store.client.delete(fleet.store.fleet_keys["sweeps"])
            wait_until(partial(has_swept, fleet))
    manager.close()


def test_a_worker_and_a_beat_leave_broker_connections_that_a_firewall_forgot(
    stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "plain_app.py").write_text(PLAIN_APP)
    with proxy_to(stack.server.socket_path) as proxy:
        worker = stack.worker(TEMP_FILE_BROKER_URL=proxy.url)
        path = os.pathsep.join([str(tmp_path), *sys.path])
        env = stack.env(PLAIN_BROKER=proxy.url, PYTHONPATH=path, TEMP_FILE_CLEANUP_INTERVAL="0.5")
        stack.run(sys.executable, "-m", "celery", "-A", "plain_app", "beat", env=env, name="beat")
        with worker.manager() as manager:
            fleet = Fleet(manager.store)
            wait_until(partial(has_swept, fleet))
            proxy.forget()
            assert "has not answered for" in wait_until(lambda: broken(worker, "broker"))
            wait_until(lambda: not broken(worker, "broker"))
            fleet.store.client.delete(fleet.store.fleet_keys["sweeps"])
            wait_until(partial(has_swept, fleet))


def test_a_child_of_a_pool_leaves_broker_connections_that_a_firewall_forgot(tmp_path: Path) -> None:
    (tmp_path / "plain_app.py").write_text(PLAIN_APP)
    with EmbeddedServer.start(tmp_path / "server") as server, proxy_to(server.socket_path) as proxy:
        app = Celery("plain", broker=broker_url(server.unix_url), set_as_current=False)
        app.conf.task_default_queue = "plain"
        with Worker(
            "web-1",
            tmp_path / "base",
            server.unix_url,
            tmp_path,
            app="plain_app",
            arguments=("--pool", "prefork", "--concurrency", "1"),
            PLAIN_BROKER=proxy.url,
            PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]),
        ).wait_until_ready() as worker:
            app.send_task("plain.pass_on", [str(tmp_path / "before")])
            wait_until((tmp_path / "before").exists)
            proxy.forget()
            wait_until(lambda: "has not answered for" in worker.output, 60)
            app.send_task("plain.pass_on", [str(tmp_path / "after")])
            wait_until((tmp_path / "after").exists, 60)
        app.close()


def test_a_worker_without_its_broker_is_unready(stack: Stack) -> None:
    with proxy_to(stack.server.socket_path) as proxy:
        worker = stack.worker(TEMP_FILE_BROKER_URL=proxy.url)
        proxy.close()
        assert "not connected" in wait_until(lambda: broken(worker, "broker"))


def broken(worker: PagedWorker, check: str) -> str:
    """What /readyz says is wrong with *check*, or ""."""
    problem: str = fetch_json(f"{worker.url}/readyz")["checks"][check]
    return "" if problem == "ok" else problem
