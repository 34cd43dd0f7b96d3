"""
A message that the wrong host's worker receives is an ordinary task: whatever hangs on it is the owner's execution.

Two real workers take turns. web-1 runs our own app in threads. web-2 runs an app of somebody else with ``install``, in
Celery's default pool; it has the callbacks, too. Each message is sent to the queue of the host that does not have the
file. Everything runs with a result back-end and without one.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery, chain, chord, group, states
from celery.canvas import Signature, chunks, xstarmap
from celery.result import AsyncResult

from processes import Worker
from support import wait_until
from tempfleet import BatchError, FileMissing, NotRegistered, Settings, UnsafePath
from tempfleet.embedded import EmbeddedServer, broker_url
from tempfleet.registry.connection import connect
from tempfleet_tasks import make_app
from tempfleet_tasks.messages import ClearRefused
from tempfleet_tasks.runtime import Runtime

SHOP = """
import json, os, redis
from celery import Celery
import tempfleet_tasks

app = Celery("shop", broker=os.environ["SHOP_BROKER"], backend=os.environ.get("CELERY_RESULT_BACKEND"))
app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1)
tempfleet_tasks.install(app)
notes = redis.Redis(unix_socket_path=os.environ["SHOP_NOTES"])

@app.task(name="shop.note", bind=True)
def note(self, *args, key):
    request = self.request
    facts = {"args": args, "parent": request.parent_id, "root": request.root_id}
    notes.rpush(key, json.dumps(facts, default=repr))
    return args[0] if args else None

@app.task(name="shop.failed")
def failed(*args, key):
    notes.rpush(key, json.dumps({"args": [repr(arg) for arg in args]}))
"""

HOSTS = ("web-1", "web-2")
LONG = 60

every_owner = pytest.mark.parametrize("owner", HOSTS)


@dataclass
class Shop:
    """The two workers, and the app of a sender that knows nothing of Tempfleet but its names."""

    app: Celery
    client: redis.Redis
    fleet: Runtime
    home: Path
    has_results: bool
    workers: dict[str, Worker] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)

    def file(self, host: str) -> str:
        path = self.home / host / "base" / f"file-{next(self.numbers)}"
        path.write_text("bytes")
        return str(path)

    def missing(self, host: str) -> str:
        return str(self.home / host / "base" / f"missing-{next(self.numbers)}")

    def message(self, task: str, *args: Any, host: str, **kwargs: Any) -> Signature:
        """Returns a signature that is sent to the worker of the other host."""
        (wrong,) = set(HOSTS) - {host} if host in HOSTS else {"web-1"}
        queue, kwargs = f"tempfleet.host.{wrong}", {"host": host, **kwargs}
        return self.app.signature(
            f"tempfleet.{task}", args=args, kwargs=kwargs, queue=queue, serializer="json"
        )

    def register(self, host: str, path: str | None = None, **kwargs: Any) -> Signature:
        return self.message("register", path or self.file(host), host=host, **{"ttl": 3600, **kwargs})

    def note(self, key: str, **options: Any) -> Signature:
        return self.app.signature("shop.note", kwargs={"key": key}, **options)

    def failed(self, key: str) -> Signature:
        return self.app.signature("shop.failed", kwargs={"key": key})

    def key(self) -> str:
        return f"notes-{next(self.numbers)}"

    def notes(self, key: str, number: int = 1) -> list[dict[str, Any]]:
        """Waits for the notes of callbacks; there must be exactly *number*."""
        wait_until(lambda: self.client.llen(key) >= number, LONG)
        found = [json.loads(text) for text in self.client.lrange(key, 0, -1)]
        assert len(found) == number
        return found

    def is_registered(self, host: str, path: str) -> bool:
        (volume,) = self.fleet.fleet.volumes(host=host)
        return self.fleet.fleet.registry(volume).read([path])[1][0] is not None

    def until_idle(self) -> None:
        """Waits until no queue has a message and no worker runs one."""

        def is_idle() -> bool:
            queues = ("celery", "tempfleet", *(f"tempfleet.host.{host}" for host in HOSTS))
            return not self.client.hlen("unacked") and not any(map(self.client.llen, queues))

        wait_until(is_idle, LONG)


@pytest.fixture(scope="module", params=["results", "no results"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("canvas")
    for host in HOSTS:
        (home / host / "base").mkdir(mode=0o700, parents=True)
    (home / "web-2" / "shop.py").write_text(SHOP)
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer.start(home / "server"))
        broker = broker_url(server.unix_url)
        has_results = request.param == "results"
        env = {
            "TEMP_FILE_HOST_LIVE_FOR": "60",
            "TEMP_FILE_CLEANUP_INTERVAL": "60",
            "ENABLE_TEMP_FILE_METRICS": "off",
            "SHOP_BROKER": broker,
            "SHOP_NOTES": server.socket_path,
            **({"CELERY_RESULT_BACKEND": broker} if has_results else {}),
        }
        workers = {
            "web-1": Worker("web-1", home / "web-1" / "base", server.unix_url, home, **env),
            "web-2": Worker(
                "web-2",
                home / "web-2" / "base",
                server.unix_url,
                home,
                app="shop",
                arguments=("-P", "prefork", "-c", "2"),
                **env,
            ),
        }
        for worker in workers.values():
            stack.enter_context(worker)
        settings = Settings.load(host="client", base_dir=str(home / "client"), redis_url=server.unix_url)
        client = connect(server.unix_url)
        app = Celery("sender", broker=broker, backend=broker if has_results else None, set_as_current=False)
        shop = Shop(app, client, make_app(settings).tempfleet(), home, has_results, workers)
        for worker in workers.values():
            worker.wait_until_ready()
        wait_until(lambda: shop.fleet.fleet.live_hosts() == set(HOSTS))
        yield shop
        # A result that is collected later asks a server that has ended.
        gc.collect()
        app.close()
        client.close()


# -- callbacks


@every_owner
def test_a_callback_gets_what_the_owner_answered_and_an_error_callback_runs_for_what_it_refused(
    shop: Shop, owner: str
) -> None:
    done, failed = shop.key(), shop.key()
    paths = [shop.file(owner) for _ in range(5)]
    sent = [shop.register(owner, path) for path in paths] + [
        shop.register(owner, shop.missing(owner)) for _ in range(5)
    ]
    for message in sent:
        message.apply_async(link=shop.note(done), link_error=shop.failed(failed))
    answers = [note["args"][0] for note in shop.notes(done, 5)]
    assert sorted(answer["path"] for answer in answers) == sorted(paths)
    shop.notes(failed, 5)
    shop.until_idle()
    assert (shop.client.llen(done), shop.client.llen(failed)) == (5, 5)
    assert all(shop.is_registered(owner, path) for path in paths)


REFUSED: dict[str, tuple[type[Exception], Callable[[Shop, str], Signature]]] = {
    "register": (FileMissing, lambda shop, host: shop.register(host, shop.missing(host))),
    "register outside": (UnsafePath, lambda shop, host: shop.register(host, "/etc/hostname")),
    "register_many": (
        BatchError,
        lambda shop, host: shop.message("register_many", [shop.file(host), shop.missing(host)], host=host),
    ),
    "renew": (NotRegistered, lambda shop, host: shop.message("renew", shop.file(host), host=host)),
    "unregister": (NotRegistered, lambda shop, host: shop.message("unregister", shop.file(host), host=host)),
    "clear": (ClearRefused, lambda shop, host: shop.message("clear", host=host)),
}


@every_owner
def test_every_message_that_the_owner_refuses_runs_its_error_callback_alone(shop: Shop, owner: str) -> None:
    keys, results = {}, {}
    for name, (_, message) in REFUSED.items():
        keys[name] = shop.key(), shop.key()
        done, failed = keys[name]
        results[name] = message(shop, owner).apply_async(link=shop.note(done), link_error=shop.failed(failed))
    for _, failed in keys.values():
        shop.notes(failed)
    shop.until_idle()
    assert [name for name, (done, _) in keys.items() if shop.client.llen(done)] == []
    if shop.has_results:
        for name, (error, _) in REFUSED.items():
            with pytest.raises(error):
                results[name].get(timeout=LONG)


@every_owner
def test_every_message_that_the_owner_carries_out_runs_its_callback_alone(shop: Shop, owner: str) -> None:
    path, many = shop.file(owner), [shop.file(owner) for _ in range(3)]
    steps = [
        (shop.register(owner, path), "path"),
        (shop.message("renew", path, host=owner, ttl=7200), "deadline_ms"),
        (shop.message("unregister", path, host=owner), "released"),
        (shop.message("register_many", many, host=owner), "registered"),
    ]
    for message, word in steps:
        done, failed = shop.key(), shop.key()
        message.apply_async(link=shop.note(done), link_error=shop.failed(failed))
        (note,) = shop.notes(done)
        assert word in note["args"][0] and not shop.client.llen(failed)


def test_a_message_for_a_silent_host_runs_its_callback_when_it_was_recorded(shop: Shop) -> None:
    base = shop.home / "web-8"
    base.mkdir(mode=0o700, exist_ok=True)
    silent = make_app(
        Settings.load(host="web-8", base_dir=str(base), redis_url=shop.fleet.settings.redis_url)
    )
    silent.tempfleet().fleet.announce(silent.tempfleet().manager.volume)
    shop.client.zadd("tempfleet:hosts", {"web-8": 1})
    done, failed = shop.key(), shop.key()
    callbacks = {"link": shop.note(done), "link_error": shop.failed(failed)}
    shop.register("web-8", str(base / "a")).apply_async(**callbacks)
    assert shop.notes(done)[0]["args"][0]["verified"] is False
    shop.register("web-8", "/etc/hostname").apply_async(**callbacks)
    shop.message("renew", str(base / "b"), host="web-8").apply_async(**callbacks)
    shop.message("unregister", str(base / "b"), host="web-8").apply_async(**callbacks)
    shop.message("clear", host="web-8").apply_async(**callbacks)
    shop.notes(failed, 4)
    shop.until_idle()
    assert (shop.client.llen(done), shop.client.llen(failed)) == (1, 4)
    shop.client.zrem("tempfleet:hosts", "web-8")


@every_owner
def test_several_callbacks_run_and_an_immutable_one_gets_no_answer(shop: Shop, owner: str) -> None:
    first, second = shop.key(), shop.key()
    message = shop.register(owner)
    message.link(shop.note(first, immutable=True))
    message.link(group(shop.note(second), shop.note(second)))
    message.apply_async()
    assert shop.notes(first)[0]["args"] == []
    assert all(note["args"][0]["path"] for note in shop.notes(second, 2))


# -- chain, group, chord, chunks, starmap


@every_owner
def test_a_chain_goes_on_after_each_owner_and_stops_at_the_first_refusal(shop: Shop, owner: str) -> None:
    done, failed = shop.key(), shop.key()
    (other,) = set(HOSTS) - {owner}
    register = shop.register(other)
    register.set(immutable=True)
    chain(shop.register(owner), shop.note(done), register, shop.note(done)).apply_async()
    answers = [note["args"][0] for note in shop.notes(done, 2)]
    assert [f"/{host}/" in answer["path"] for host, answer in zip((owner, other), answers, strict=True)] == [
        True,
        True,
    ]
    chain(shop.register(owner, shop.missing(owner)), shop.note(done)).apply_async(
        link_error=shop.failed(failed)
    )
    shop.notes(failed)
    shop.until_idle()
    assert shop.client.llen(done) == 2


@every_owner
def test_a_callback_knows_its_parent_and_its_root(shop: Shop, owner: str) -> None:
    done = shop.key()
    sent = chain(shop.register(owner), shop.note(done), shop.note(done)).apply_async()
    first, second = shop.notes(done, 2)
    root = sent.parent.parent.id
    assert (first["parent"], first["root"]) == (root, root)
    assert (second["parent"], second["root"]) == (sent.parent.id, root)


@every_owner
def test_a_group_in_a_chain_runs_after_the_owner(shop: Shop, owner: str) -> None:
    done = shop.key()
    chain(shop.register(owner), group(shop.note(done) for _ in range(3))).apply_async()
    assert all(note["args"][0]["path"] for note in shop.notes(done, 3))


def test_a_group_has_the_owners_results(shop: Shop) -> None:
    paths = [(host, shop.file(host)) for host in HOSTS for _ in range(3)]
    result = group(shop.register(host, path) for host, path in paths).apply_async()
    if shop.has_results:
        assert [answer["path"] for answer in result.get(timeout=LONG)] == [path for _, path in paths]
    wait_until(lambda: all(shop.is_registered(host, path) for host, path in paths), LONG)


def test_a_chord_waits_for_every_owner_and_fails_with_the_first_refusal(shop: Shop) -> None:
    if not shop.has_results:
        pytest.skip("Celery needs a result back-end for a chord")
    done, failed = shop.key(), shop.key()
    paths = [(host, shop.file(host)) for host in HOSTS for _ in range(3)]
    header = [shop.register(host, path) for host, path in paths]
    result = chord(header)(shop.note(done))
    (note,) = shop.notes(done)
    assert [answer["path"] for answer in note["args"][0]] == [path for _, path in paths]
    assert len(result.get(timeout=LONG)) == 6
    refused = shop.register("web-1", shop.missing("web-1"))
    body = shop.note(done)
    body.link_error(shop.failed(failed))
    chord([shop.register("web-2"), refused])(body)
    shop.notes(failed)
    shop.until_idle()
    assert shop.client.llen(done) == 1


@every_owner
def test_a_worker_without_results_says_that_a_chord_never_ends(shop: Shop, owner: str) -> None:
    options = {"chord": dict(shop.note("never")), "group_id": "a-group", "group_index": 0}
    sent = shop.register(owner).apply_async(**({} if shop.has_results else options))
    wait_until(lambda: f"tempfleet.register[{sent.id}] succeeded" in shop.workers[owner].output, LONG)
    shop.until_idle()
    ends = [
        f"The chord of tempfleet.register[{sent.id}] never ends" in w.output for w in shop.workers.values()
    ]
    assert ends == [host == owner and not shop.has_results for host in shop.workers]


def test_a_chord_in_a_chain_of_chords_is_carried_through_both_hosts(shop: Shop) -> None:
    if not shop.has_results:
        pytest.skip("Celery needs a result back-end for a chord")
    done = shop.key()
    registers = [shop.register(host) for host in HOSTS]
    for register in registers:
        register.set(immutable=True)
    result = chain(
        group(shop.register("web-1"), chain(shop.register("web-2"), shop.note(done))),
        group(registers),
        shop.note(done),
    ).apply_async()
    assert [
        f"/{host}/" in answer["path"] for host, answer in zip(HOSTS, result.get(timeout=LONG), strict=True)
    ] == [
        True,
        True,
    ]
    shop.notes(done, 2)


@every_owner
def test_a_starmap_and_chunks_for_one_host_run_there(shop: Shop, owner: str) -> None:
    (wrong,) = set(HOSTS) - {owner}
    queue = f"tempfleet.host.{wrong}"
    task = shop.app.signature("tempfleet.register")
    paths = [shop.file(owner) for _ in range(6)]
    done = shop.key()
    one = xstarmap(task, [(path, owner, 3600) for path in paths[:2]], app=shop.app)
    result = one.apply_async(queue=queue, link=shop.note(done))
    assert [answer["path"] for answer in shop.notes(done)[0]["args"][0]] == paths[:2]
    parts = chunks(task, [(path, owner, 3600) for path in paths[2:]], 2, app=shop.app).apply_async(
        queue=queue
    )
    wait_until(lambda: all(shop.is_registered(owner, path) for path in paths), LONG)
    if shop.has_results:
        assert result.get(timeout=LONG) and sum(map(len, parts.get(timeout=LONG))) == 4
        refused = xstarmap(task, [(shop.missing(owner), owner)], app=shop.app).apply_async(queue=queue)
        with pytest.raises(FileMissing):
            refused.get(timeout=LONG)


def test_a_starmap_over_several_hosts_registers_every_file(shop: Shop) -> None:
    paths = [(shop.file(host), host, 3600) for host in (*HOSTS, *HOSTS)]
    done = shop.key()
    task = shop.app.signature("tempfleet.register")
    xstarmap(task, paths, app=shop.app).apply_async(queue="tempfleet", link=shop.note(done))
    assert len(shop.notes(done)[0]["args"][0]) == 4
    wait_until(lambda: all(shop.is_registered(host, path) for path, host, _ in paths), LONG)


# -- id, result, retries


@every_owner
def test_the_result_under_the_senders_id_is_the_owners(shop: Shop, owner: str) -> None:
    path, name = shop.file(owner), f"my-own-id-{owner}-{shop.has_results}"
    sent = shop.app.send_task(
        "tempfleet.register",
        args=[path],
        kwargs={"host": owner, "ttl": 60},
        queue="tempfleet",
        serializer="json",
        task_id=name,
    )
    if shop.has_results:
        assert sent.get(timeout=LONG)["path"] == path
        assert AsyncResult(name, app=shop.app).state == states.SUCCESS
    wait_until(lambda: shop.is_registered(owner, path), LONG)
    wait_until(lambda: f"tempfleet.register[{name}] succeeded" in shop.workers[owner].output, LONG)


@every_owner
def test_what_the_owner_retries_keeps_all_that_hangs_on_it(shop: Shop, owner: str) -> None:
    base, away = shop.home / owner / "base", shop.home / owner / "away"
    path, done, failed = shop.file(owner), shop.key(), shop.key()
    message = chain(shop.register(owner, path), shop.note(done))
    os.rename(base, away)
    try:
        result = message.apply_async(link_error=shop.failed(failed))
        retried = f"tempfleet.register[{result.parent.id}] retry"
        wait_until(lambda: retried in shop.workers[owner].output, LONG)
        assert not shop.client.llen(done)
    finally:
        os.rename(away, base)
    assert shop.notes(done)[0]["args"][0]["path"] == path
    assert not shop.client.llen(failed)


@every_owner
def test_a_message_that_the_broker_does_not_take_a_second_time_is_not_lost(shop: Shop, owner: str) -> None:
    """web-9 is live, but nobody reads its queue. For a while Redis lets nobody write into that queue either."""
    shop.fleet.fleet.heartbeat("web-9")
    failed, worker = shop.key(), shop.workers[owner]
    message = shop.register("web-9", "/srv/a").set(queue=f"tempfleet.host.{owner}")
    others = [f"~{name}" for name in ("[^t]*", "tempfleet", "tempfleet[^.]*", "tempfleet.host.web-[12]*")]
    shop.client.execute_command("ACL", "SETUSER", "default", "resetkeys", *others)
    try:
        refused = worker.output.count("reject requeue=True")
        message.apply_async(link_error=shop.failed(failed))
        wait_until(lambda: worker.output.count("reject requeue=True") >= refused + 2, LONG)
    finally:
        shop.client.execute_command("ACL", "SETUSER", "default", "allkeys")
    wait_until(lambda: shop.client.llen("tempfleet.host.web-9") == 1, LONG)
    assert not shop.client.llen(failed)
    shop.client.delete("tempfleet.host.web-9")
    shop.client.zrem("tempfleet:hosts", "web-9")


# -- the message


def sent_messages(shop: Shop, queue: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in shop.client.lrange(queue, 0, -1)]


@every_owner
def test_a_message_that_is_sent_on_is_the_same_message(
    shop: Shop, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """web-9 is live, but nobody reads its queue. The message is compared with one that was sent there directly."""
    shop.fleet.fleet.heartbeat("web-9")
    # Redis has a list for each priority.
    lists = [f"tempfleet.host.web-9{end}" for end in ("", "\x06\x163", "\x06\x166", "\x06\x169")]
    for priority, stamped in ((None, False), (0, True), (6, False)):
        shop.client.delete(*lists)
        message = shop.register("web-9", "/srv/a", tags=["x"])
        options: dict[str, Any] = {
            "task_id": f"same-{owner}-{priority}",
            "link": [shop.note("never"), group(shop.note("never"), shop.note("never"))],
            "link_error": shop.failed("never"),
            "chain": [dict(shop.note("never"))],
            "chord": dict(shop.note("never")),
            "group_id": "a-group",
            "group_index": 3,
            "root_id": "a-root",
            "parent_id": "a-parent",
            "reply_to": "somebody",
            "shadow": "another name",
            "expires": 3600,
            "time_limit": 50,
            "soft_time_limit": 40,
            "retries": 2,
            "headers": {
                "traceparent": "00-1-2",
                "tenant": {"id": 7},
                "x-request-id": "r-1",
                "_span": "s-1",
                # Tracing tools send one mapping more.
                "headers": {"sentry-trace": "t-1"},
            },
            "ignore_result": False,
            "replaced_task_nesting": 1,
            **({} if priority is None else {"priority": priority}),
            **({"stamped_headers": ["batch"], "batch": ["seven"]} if stamped else {}),
        }
        sender = f"tempfleet.host.{owner}"
        args, kwargs = message.args, message.kwargs
        shop.app.send_task(message.task, args, kwargs, queue="direct", **options)
        (direct,) = sent_messages(shop, "direct") or sent_messages(shop, "direct\x06\x166")
        shop.client.delete("direct", "direct\x06\x166")
        shop.app.send_task(message.task, args, kwargs, queue=sender, **options)
        wait_until(lambda: sum(map(shop.client.llen, lists)) == 1, LONG)
        (on,) = (found for name in lists for found in sent_messages(shop, name))
        for one in (direct, on):
            one["headers"].pop("expires")  # relative to the time of sending
            one["headers"].pop("origin")
            del one["properties"]["delivery_tag"], one["properties"]["delivery_info"]
            one["properties"].pop("expiration", None)
        assert on == direct
    shop.client.delete(*lists)
    shop.client.zrem("tempfleet:hosts", "web-9")


@every_owner
def test_a_message_that_expires_on_its_way_runs_nothing_and_is_counted(shop: Shop, owner: str) -> None:
    reader, queue = shop.workers[owner], f"tempfleet.host.{owner}"
    path, done, failed = shop.file(owner), shop.key(), shop.key()
    shop.app.control.cancel_consumer(queue, destination=[f"tempfleet@{owner}"], reply=True)
    sent = shop.register(owner, path).apply_async(
        expires=1, link=shop.note(done), link_error=shop.failed(failed)
    )
    wait_until(lambda: shop.client.llen(queue) == 1, LONG)
    (expires,) = (message["headers"]["expires"] for message in sent_messages(shop, queue))
    wait_until(lambda: shop.app.now().isoformat() > expires)
    shop.app.control.add_consumer(queue, destination=[f"tempfleet@{owner}"], reply=True)
    wait_until(lambda: f"Discarding revoked task: tempfleet.register[{sent.id}]" in reader.output, LONG)
    shop.until_idle()
    assert not shop.is_registered(owner, path)
    assert not shop.client.llen(done) and not shop.client.llen(failed)
    if shop.has_results:
        assert sent.state == states.REVOKED
