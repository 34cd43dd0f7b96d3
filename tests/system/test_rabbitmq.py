"""Our queues on a real RabbitMQ, where another app declared them first and in another way. Skipped without a server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from celery import Celery
from kombu import Connection, Exchange, Queue

from processes import Beat, Worker, manager_of
from support import wait_until
from tempfleet.embedded import EmbeddedServer

PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""Debian's. The command on the PATH changes the user if root runs it."""

EPMD = shutil.which("epmd") or ""

pytestmark = pytest.mark.skipif(
    not (os.path.exists(PROGRAM) and EPMD), reason="there is no rabbitmq-server on this machine"
)

SHOP = """
from celery import Celery
import os
from tempfleet_tasks import install

app = Celery("shop", broker=os.environ["TEMP_FILE_BROKER_URL"], set_as_current=False)
app.conf.task_queue_max_priority = 10
app.conf.task_default_queue = "shop"
install(app)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yields the URL of a RabbitMQ of its own."""
    home, port, epmd_port = tmp_path_factory.mktemp("rabbitmq"), free_port(), str(free_port())
    (home / "plugins").write_text("[].")
    env = {
        **os.environ,
        "HOME": str(home),
        "ERL_EPMD_PORT": epmd_port,
        "RABBITMQ_NODENAME": f"tempfleet{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_CONFIG_FILE": str(home / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
    }
    log = home / "output"
    with log.open("wb") as output:
        server = subprocess.Popen([PROGRAM], env=env, stdout=output, stderr=output, start_new_session=True)
    try:
        wait_until(lambda: "startup complete" in log.read_text() or server.poll() is not None, 60)
        assert server.poll() is None, log.read_text()[-2000:]
        yield f"amqp://guest:guest@localhost:{port}//"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        # It refuses until it has noticed that the server is gone.
        kill = partial(subprocess.run, [EPMD, "-kill"], env=env, capture_output=True, check=False)
        wait_until(lambda: b"Killed" in kill().stdout)


@pytest.mark.parametrize(
    "arguments", [{"x-max-priority": 5}, {"x-queue-type": "quorum"}], ids=["priorities", "quorum"]
)
@pytest.mark.parametrize("app", ["tempfleet_tasks", "shop"])
def test_a_queue_that_another_app_declared_kills_nobody(
    rabbitmq: str, tmp_path: Path, arguments: dict[str, object], app: str
) -> None:
    names = ("tempfleet", "tempfleet.host.web-1")
    with Connection(rabbitmq) as connection, connection.channel() as channel:
        for name in names:
            channel.queue_delete(name)
            Queue(name, Exchange(""), name, queue_arguments=arguments)(channel).declare()
    (tmp_path / "shop.py").write_text(SHOP)
    with EmbeddedServer.start(tmp_path / "server") as server:
        env = {
            "TEMP_FILE_BROKER_URL": rabbitmq,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
        }
        url = server.unix_url
        worker = Worker("web-1", tmp_path / "base", url, tmp_path, app=app, **env)
        with (
            worker,
            Beat(url, tmp_path, **env) as beat,
            manager_of("web-1", tmp_path / "base", url) as manager,
        ):
            worker.wait_until_ready()
            path = tmp_path / "base" / "file"
            path.touch()
            sender = Celery("shop", broker=rabbitmq, set_as_current=False)
            arguments = {"host": "web-1", "ttl": 0.1}
            sender.send_task("tempfleet.register", [str(path)], arguments, queue="tempfleet", declare=[])
            # Beat's sweep, and the message that it sends to the host's queue.
            wait_until(lambda: not path.exists() or worker.process.poll() is not None)
            assert (worker.process.poll(), beat.process.poll()) == (None, None)
            wait_until(lambda: manager.stats().total("deleted") == 1)
            assert "Another program declared the queue tempfleet in another way" in worker.output
            assert "rabbitmqctl delete_queue tempfleet" in worker.output
            sender.close()


def test_a_queue_that_another_program_has_for_itself_only_delays_messages(
    rabbitmq: str, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    env = {"TEMP_FILE_BROKER_URL": rabbitmq, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with (
        EmbeddedServer.start(tmp_path / "server") as server,
        Connection(rabbitmq) as connection,
        connection.channel() as channel,
    ):
        channel.queue_delete("tempfleet")
        Queue("tempfleet", Exchange(""), "tempfleet", exclusive=True)(channel).declare()
        url = server.unix_url
        with (
            Worker("web-1", tmp_path / "base", url, tmp_path, app="shop", **env) as worker,
            manager_of("web-1", tmp_path / "base", url) as manager,
        ):
            wait_until(lambda: "RESOURCE_LOCKED" in worker.output, 30)
            channel.queue_delete("tempfleet")
            connection.release()
            worker.wait_until_ready()
            sender = Celery("shop", broker=rabbitmq, set_as_current=False)
            other = tmp_path / "base" / "other"
            other.touch()
            arguments = {"host": "web-1", "ttl": 600}
            sender.send_task("tempfleet.register", [str(other)], arguments, queue="tempfleet", declare=[])
            wait_until(lambda: manager.is_temp_file(other) or worker.process.poll() is not None, 30)
            assert worker.process.poll() is None
            sender.close()


def test_on_rabbitmq_a_message_is_sent_on_as_the_same_and_a_malformed_one_is_counted(
    rabbitmq: str, tmp_path: Path
) -> None:
    """The callbacks go to a queue that the test reads. Each message goes to the host that does not have the file."""
    with Connection(rabbitmq) as connection, connection.channel() as channel:
        for name in ("tempfleet", "tempfleet.host.web-1", "tempfleet.host.web-2"):
            channel.queue_delete(name)
    bases = {host: tmp_path / f"base-{host}" for host in ("web-1", "web-2")}
    with EmbeddedServer.start(tmp_path / "server") as server:
        url, env = server.unix_url, {"TEMP_FILE_BROKER_URL": rabbitmq, "ENABLE_TEMP_FILE_METRICS": "off"}
        with (
            Worker("web-1", bases["web-1"], url, tmp_path, **env) as first,
            Worker("web-2", bases["web-2"], url, tmp_path, **env) as second,
            manager_of("web-1", bases["web-1"], url) as manager,
            Celery("sender", broker=rabbitmq, set_as_current=False) as sender,
            Connection(rabbitmq) as connection,
        ):
            for worker in (first, second):
                worker.wait_until_ready()
            path = bases["web-1"] / "file"
            path.touch()
            register = partial(sender.signature, "tempfleet.register", queue="tempfleet.host.web-2")
            done = sender.signature("shop.done").set(queue="notes")
            failed = sender.signature("shop.failed").set(queue="notes")
            options = {"link": done, "link_error": failed, "priority": 3, "expires": 600}
            kwargs = {"host": "web-1", "ttl": 600}
            sent = register(args=[str(path)], kwargs=kwargs).apply_async(**options)
            notes = connection.SimpleQueue("notes")
            note = notes.get(timeout=30)
            assert note.headers["task"] == "shop.done" and note.payload[0][0]["path"] == str(path)
            assert note.headers["parent_id"] == sent.id and manager.is_temp_file(path)
            note.ack()
            refused = register(args=[f"{path}-missing"], kwargs=kwargs).apply_async(**options)
            note = notes.get(timeout=30)
            assert (note.headers["task"], note.payload[0]) == ("shop.failed", [refused.id])
            note.ack()
            with connection.Producer() as producer:
                for headers, body in (
                    ({"task": "tempfleet.register"}, [[], {}, {}]),
                    ({}, "rubbish"),
                    ({}, ""),
                ):
                    producer.publish(
                        body, routing_key="tempfleet.host.web-1", headers=headers, serializer="json"
                    )
            wait_until(lambda: manager.stats().total("rejected:InvalidTaskError") == 3)
            assert (first.process.poll(), second.process.poll()) == (None, None)
            notes.close()
