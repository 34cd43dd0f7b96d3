"""
A message that is thrown away is counted by its reason, and shown; and no message stops a worker.

Real workers receive what other programs may send: another serializer, a misspelt task, envelopes made by hand.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from celery import Celery

from processes import Worker as ShopWorker
from processes import manager_of
from stack import Stack, Worker, fetch, fetch_json, running_stack
from support import console, wait_until
from tempfleet import TempFileManager
from tempfleet.embedded import EmbeddedServer, broker_url
from tempfleet.registry.connection import connect

SHOP = """
import logging, os
from celery import Celery, signals
import tempfleet_tasks

app = Celery("shop", broker=os.environ["SHOP_BROKER"])
app.conf.update(
    accept_content=["json", "yaml", "msgpack"],
    broker_connection_retry_on_startup=True,
    worker_redirect_stdouts=False,
)
tempfleet_tasks.install(app)

@signals.task_prerun.connect
def started(task, **kwargs):
    logging.getLogger("shop").warning("started %s", task.name)
"""

NAME = "tempfleet.register"
HEADERS: dict[str, Any] = {"lang": "py", "task": NAME, "id": "an-id", "root_id": "an-id", "retries": 0}
GOOD = [["/srv/a"], {"host": "web-1"}, {}]


def envelope(
    body: object = GOOD,
    headers: object = HEADERS,
    content: str = "application/json",
    encoding: str = "utf-8",
    queue: str = "tempfleet",
    **properties: object,
) -> str:
    """Returns a message as kombu writes it into a list of Redis; a body that is no text or bytes becomes JSON."""
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    raw = text.encode() if isinstance(text, str) else text
    return json.dumps(
        {
            "body": base64.b64encode(raw).decode(),
            "content-encoding": encoding,
            "content-type": content,
            "headers": headers,
            "properties": {
                "body_encoding": "base64",
                "delivery_info": {"exchange": "", "routing_key": queue},
                "delivery_mode": 2,
                "delivery_tag": str(uuid.uuid4()),
                "priority": 0,
                **properties,
            },
        }
    )


def with_options(**options: object) -> str:
    return envelope([*GOOD[:2], options])


def with_headers(**headers: object) -> str:
    return envelope(headers=HEADERS | headers)


def without(name: str) -> str:
    return envelope(headers={key: value for key, value in HEADERS.items() if key != name})


PICKLE, MSGPACK = "application/x-python-serialize", "application/x-msgpack"

THROWN_AWAY: dict[str, tuple[str, str | bytes]] = {
    "pickle": ("ContentDisallowed", envelope(b"x", content=PICKLE, encoding="binary")),
    "msgpack": ("ContentDisallowed", envelope(b"\x93", content=MSGPACK, encoding="binary")),
    "yaml": ("ContentDisallowed", envelope("[]", content="application/x-yaml")),
    "plain text": ("ContentDisallowed", envelope(content="text/plain")),
    "content of its own": ("ContentDisallowed", envelope(content="application/x-own")),
    "bytes": ("InvalidTaskError", envelope(content="application/data")),
    "not JSON": ("DecodeError", envelope("{not")),
    "not UTF-8": ("DecodeError", envelope(b"\xff\xfe")),
    "nested without end": ("DecodeError", envelope("[" * 100_000)),
    "unknown compression": ("DecodeError", with_headers(compression="own")),
    "wrong compression": ("DecodeError", with_headers(compression="application/x-gzip")),
    "misspelt": ("UnknownTask", with_headers(task="tempfleet.registr")),
    "another app's task": ("UnknownTask", with_headers(task="shop.order")),
    "misspelt, protocol 1": (
        "UnknownTask",
        envelope({"task": "tempfleet.registr", "id": "i", "args": [], "kwargs": {}}, {}),
    ),
    "expired": ("Expired", with_headers(id="old", expires="2001-01-01T00:00:00+00:00")),
    "no body": ("InvalidTaskError", envelope("")),
    "null": ("InvalidTaskError", envelope("null")),
    "number": ("InvalidTaskError", envelope(5)),
    "text": ("InvalidTaskError", envelope('"abc"')),
    "mapping": ("InvalidTaskError", envelope({})),
    "two parts": ("InvalidTaskError", envelope(GOOD[:2])),
    "four parts": ("InvalidTaskError", envelope([*GOOD, {}])),
    "arguments that are no list": ("InvalidTaskError", envelope([5, {}, {}])),
    "keywords that are a list": ("InvalidTaskError", envelope([[], [1], {}])),
    "options that are a list": ("InvalidTaskError", envelope([[], {}, [1]])),
    "options that are null": ("InvalidTaskError", envelope([[], {}, None])),
    "no id": ("InvalidTaskError", without("id")),
    "id that is a number": ("InvalidTaskError", with_headers(id=5)),
    "no id, unknown task": ("InvalidTaskError", envelope(headers={"task": "nonsense"})),
    "task that is a list": ("InvalidTaskError", with_headers(task=["a"])),
    "task that is null": ("InvalidTaskError", with_headers(task=None)),
    "no task": ("InvalidTaskError", without("task")),
    "no headers": ("InvalidTaskError", envelope(headers={})),
    "headers that are null": ("InvalidTaskError", envelope(headers=None)),
    "eta": ("InvalidTaskError", with_headers(eta="soon")),
    "eta that is a number": ("InvalidTaskError", with_headers(eta=5)),
    "expires": ("InvalidTaskError", with_headers(expires="soon")),
    "expires that is a number": ("InvalidTaskError", with_headers(expires=5)),
    "time limit": ("InvalidTaskError", with_headers(timelimit="x")),
    "time limits": ("InvalidTaskError", with_headers(timelimit=[1, 2, 3])),
    "retries": ("InvalidTaskError", with_headers(retries="x")),
    "stamps": ("InvalidTaskError", with_headers(stamped_headers=5)),
    "headers within the headers": ("InvalidTaskError", with_headers(headers=5)),
    "callbacks": ("InvalidTaskError", with_options(callbacks="x")),
    "error callbacks": ("InvalidTaskError", with_options(errbacks=[5])),
    "chain": ("InvalidTaskError", with_options(chain=5)),
    "chord": ("InvalidTaskError", with_options(chord=5)),
    "option that replaces what the worker says": ("InvalidTaskError", with_options(delivery_info=5)),
    "another id in the options": ("InvalidTaskError", with_options(id="another")),
    "keywords, protocol 1": (
        "InvalidTaskError",
        envelope({"task": NAME, "id": "i", "args": [], "kwargs": [1]}, {}),
    ),
    "no id, protocol 1": ("InvalidTaskError", envelope({"task": NAME, "args": [], "kwargs": {}}, {})),
    "nothing of JSON": ("InvalidTaskError", "register /srv/a"),
    "nothing of UTF-8": ("InvalidTaskError", b"\xff\xfe"),
    "a number alone": ("InvalidTaskError", "5"),
    "arguments alone": ("InvalidTaskError", json.dumps({"path": "/srv/a", "host": "web-1"})),
    "no delivery tag": ("InvalidTaskError", envelope(delivery_tag=None)),
    "no delivery information": ("InvalidTaskError", envelope(delivery_info=None)),
    "another encoding of the body": ("InvalidTaskError", envelope(body_encoding="own")),
    "headers that are a list": ("InvalidTaskError", envelope(headers=[1])),
    "host that no worker ever had": ("UnknownHost", envelope([["/srv/a"], {"host": "web-9"}, {}])),
    "no host": ("MalformedMessage", envelope([["/srv/a"], {}, {}])),
}


@dataclass
class Target:
    """A worker of our own app, and its broker."""

    stack: Stack
    worker: Worker
    client: redis.Redis

    def push(self, message: str | bytes, queue: str = "tempfleet") -> None:
        self.client.lpush(queue, message)

    def rejected(self, host: str = "web-1") -> dict[str, int]:
        with manager_of(host, self.stack.home / host, self.stack.server.unix_url) as manager:
            return manager.stats().totals_of("rejected")

    def path(self) -> Path:
        self.worker.base_dir.mkdir(mode=0o700, exist_ok=True)
        path = self.worker.base_dir / str(uuid.uuid4())
        path.write_text("bytes")
        return path


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with running_stack(tmp_path_factory.mktemp("discards")) as stack:
        client = connect(stack.server.unix_url)
        yield Target(stack, stack.worker("web-1", "-c", "2"), client)
        client.close()


@pytest.mark.parametrize("name", THROWN_AWAY)
def test_every_message_that_is_thrown_away_is_counted_by_its_reason_and_harms_no_worker(
    target: Target, name: str
) -> None:
    reason, message = THROWN_AWAY[name]
    before = target.rejected()
    target.push(message)
    wait_until(lambda: target.rejected() != before)
    assert target.rejected() == before | {reason: before.get(reason, 0) + 1}
    wait_until(lambda: not target.client.hlen("unacked"))
    assert target.worker.process.popen.poll() is None


def test_a_worker_that_received_rubbish_still_works_and_has_lost_no_connection(target: Target) -> None:
    path = target.path()
    target.push(envelope([[str(path)], {"host": "web-1", "ttl": 0.01}, {}]))
    wait_until(lambda: not path.exists())
    assert "Connection to broker lost" not in target.worker.process.output


def test_a_revoked_message_is_counted(target: Target) -> None:
    before, name = target.rejected().get("Revoked", 0), str(uuid.uuid4())
    with Celery(broker=target.worker.env["TEMP_FILE_BROKER_URL"], set_as_current=False) as app:
        app.control.revoke(name, reply=True, timeout=10, limit=1)
        app.send_task(NAME, args=["/srv/a"], kwargs={"host": "web-1"}, queue="tempfleet", task_id=name)
    wait_until(lambda: target.rejected().get("Revoked", 0) == before + 1)


def test_a_sweep_that_expires_is_not_counted(target: Target) -> None:
    before, received = target.rejected(), target.worker.process.output.count("Discarding revoked task")
    for task in ("tempfleet.sweep", "tempfleet.delete_due"):
        expired = {"task": task, "id": task, "expires": "2001-01-01T00:00:00+00:00"}
        target.push(envelope([[], {}, {}], HEADERS | expired))
    wait_until(lambda: target.worker.process.output.count("Discarding revoked task") == received + 2)
    assert target.rejected() == before


def test_health_doctor_the_page_and_the_metrics_show_what_was_thrown_away(target: Target) -> None:
    target.push(with_headers(task="tempfleet.registr"))
    before = "temp_file_rejected_messages_total"
    wait_until(lambda: "UnknownTask" in target.rejected())
    health = fetch_json(target.worker.url + "/health")
    (text,) = (problem["text"] for problem in health["problems"] if problem["code"] == "messages-thrown-away")
    assert "UnknownTask" in text and "were thrown away" in text
    assert "thrown away" in fetch(target.worker.url + "/")[1]
    assert f'{before}{{host="web-1"' in target.worker.get("/metrics")
    for command in (("health",), ("doctor",)):
        shown = console(*command, env=target.worker.env, stdout=-1, stderr=-1)
        output, _ = shown.communicate(timeout=60)
        assert "thrown away" in output and "UnknownTask" in output, output


# -- an app of somebody else, in Celery's default pool


@dataclass
class Shop:
    """A worker of an app with ``install``; its broker is another Redis than the registry."""

    worker: ShopWorker
    app: Celery
    registry: EmbeddedServer

    def manager(self) -> TempFileManager:
        return manager_of("web-1", self.worker.base_dir, self.registry.unix_url)

    def rejected(self, reason: str) -> int:
        with self.manager() as manager:
            return manager.stats().total(f"rejected:{reason}")

    def send(self, path: Path, **options: Any) -> None:
        options = {"queue": "tempfleet", "serializer": "json", **options}
        self.app.send_task(NAME, args=[str(path)], kwargs={"host": "web-1", "ttl": 600}, **options)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("shop")
    for name in ("web-1", "base"):
        (home / name).mkdir(mode=0o700)
    (home / "web-1" / "shop.py").write_text(SHOP)
    with (
        EmbeddedServer.start(home / "registry") as registry,
        EmbeddedServer.start(home / "broker") as broker,
        Celery("sender", broker=broker_url(broker.unix_url), set_as_current=False) as app,
        ShopWorker(
            "web-1",
            home / "base",
            registry.unix_url,
            home,
            app="shop",
            arguments=("-P", "prefork", "-c", "1", "--without-mingle"),
            SHOP_BROKER=broker_url(broker.unix_url),
            ENABLE_TEMP_FILE_METRICS="off",
        ) as worker,
    ):
        worker.wait_until_ready()
        yield Shop(worker, app, registry)


@pytest.mark.parametrize("serializer", ["yaml", "msgpack"])
def test_a_serializer_that_the_app_accepts_is_accepted(shop: Shop, serializer: str) -> None:
    pytest.importorskip(serializer)
    path = shop.worker.base_dir / serializer
    path.write_text("bytes")
    shop.send(path, serializer=serializer)
    with shop.manager() as manager:
        wait_until(lambda: manager.is_temp_file(path))


def test_only_messages_in_our_queues_or_for_our_tasks_are_counted(shop: Shop) -> None:
    pickles, unknown = shop.rejected("ContentDisallowed"), shop.rejected("UnknownTask")
    for queue, name in (
        ("celery", "shop.ordr"),
        ("celery", "tempfleet.registr"),
        ("tempfleet", "shop.ordr"),
        ("tempfleet.host.web-1", NAME),
    ):
        serializer = "pickle" if name == NAME else "json"
        shop.app.send_task(name, args=["/srv/a"], queue=queue, serializer=serializer)
    wait_until(lambda: shop.rejected("ContentDisallowed") == pickles + 1)
    wait_until(lambda: shop.rejected("UnknownTask") == unknown + 2)
    assert shop.worker.output.count("Received unregistered task of type 'shop.ordr'") == 2


def test_a_message_whose_process_is_killed_is_counted_when_the_registry_answers_again(shop: Shop) -> None:
    path = shop.worker.base_dir / "killed"
    path.write_text("bytes")
    before = shop.rejected("WorkerLostError")
    registry = psutil.Process(shop.registry.pid)
    registry.suspend()
    try:
        started = shop.worker.output.count(f"started {NAME}")
        shop.send(path)
        wait_until(lambda: shop.worker.output.count(f"started {NAME}") > started)
        (child,) = psutil.Process(shop.worker.process.pid).children()
        child.kill()
        wait_until(lambda: "WorkerLostError" in shop.worker.output)
    finally:
        registry.resume()
    wait_until(lambda: shop.rejected("WorkerLostError") == before + 1, 60)
