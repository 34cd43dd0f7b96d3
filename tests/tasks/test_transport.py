"""The repairs of kombu's Redis transport."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection, Queue
from kombu.transport import redis as kombu_redis

from proxy import dialler, proxy_to
from support import wait_until
from tempfleet import Settings
from tempfleet.embedded import EmbeddedServer, broker_url
from tempfleet.registry.connection import connect
from tempfleet_tasks import install, make_app
from tempfleet_tasks.worker import retry_without_end, transport


class OwnChannel(kombu_redis.Channel):  # type: ignore[misc]
    pass


class OwnTransport(kombu_redis.Transport):  # type: ignore[misc]
    Channel = OwnChannel


def close(channel: Any) -> None:
    """Do to *channel* what kombu does to the channels of a broken connection."""
    channel.connection.client = None


@pytest.mark.parametrize("transport_class", [None, OwnTransport], ids=["kombu's", "an app's own"])
def test_a_channel_whose_connection_was_closed_raises_a_connection_error(
    real_server: EmbeddedServer, transport_class: type | None
) -> None:
    transport.repair()
    with Connection(broker_url(real_server.unix_url), transport=transport_class) as connection:
        channel = connection.default_channel
        close(channel)
        with pytest.raises(connection.connection_errors, match="was closed"):
            channel._connparams()
        channel.connection.client = connection


def test_connections_that_exist_already_are_repaired(
    real_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport.repair()
    monkeypatch.setattr(kombu_redis.Channel, "_connparams", kombu_redis.Channel._connparams.__wrapped__)
    with Connection(broker_url(real_server.unix_url)) as connection:
        channel = connection.default_channel
        transport.repair()
        close(channel)
        with pytest.raises(connection.connection_errors, match="was closed"):
            channel._connparams()
        channel.connection.client = connection


def test_sentinel_channels_are_repaired() -> None:
    transport.repair()
    assert hasattr(kombu_redis.SentinelChannel._connparams, "repaired")


def test_a_second_repair_changes_nothing() -> None:
    transport.repair()
    first = kombu_redis.Channel._connparams
    transport.repair()
    assert kombu_redis.Channel._connparams is first


def test_a_kombu_of_another_shape_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(kombu_redis.Channel, "_connparams")
    transport.repair()
    assert not hasattr(kombu_redis.Channel, "_connparams")


def test_install_repairs_an_app_with_any_broker(monkeypatch: pytest.MonkeyPatch, base_dir: Path) -> None:
    transport.repair()
    original = kombu_redis.Channel._connparams.__wrapped__
    for broker in ("redis://localhost", "sentinel://localhost", "amqp://localhost", "memory://", ""):
        monkeypatch.setattr(kombu_redis.Channel, "_connparams", original)
        app = Celery("any", broker=broker, set_as_current=False)
        install(app, Settings.load(base_dir=str(base_dir)))
        assert hasattr(kombu_redis.Channel._connparams, "repaired")
        app.close()


def test_no_message_is_refused_after_a_fail_over(tmp_path: Path) -> None:
    with (
        EmbeddedServer.start(tmp_path / "a") as primary,
        EmbeddedServer.start(tmp_path / "b") as other,
        proxy_to(primary.socket_path) as proxy,
    ):
        app = make_app(Settings.load(base_dir=str(tmp_path / "base"), redis_url=proxy.url))
        app.send_task("tempfleet.sweep", queue=Queue("before"))
        proxy.dial = dialler(other.socket_path)
        with connect(primary.unix_url) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")
        app.send_task("tempfleet.sweep", queue=Queue("after"))
        with connect(other.unix_url) as client:
            assert client.llen("after") == 1
        app.close()


def test_other_refusals_stay_what_they_are(real_client: redis.Redis, real_server: EmbeddedServer) -> None:
    transport.repair()
    real_client.set("not-a-list", "1")
    with Connection(broker_url(real_server.unix_url)) as connection:
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            connection.default_channel.client.llen("not-a-list")
        assert connection.default_channel.client.ping()


def test_a_broker_that_answers_owes_nothing_and_one_that_does_not_does(real_server: EmbeddedServer) -> None:
    transport.repair()
    with proxy_to(real_server.socket_path) as proxy, Connection(proxy.url) as connection:
        client = connection.default_channel.client
        link = client.connection_pool.get_connection()
        link.send_command("PING")
        wait_until(lambda: transport._has_data(link._sock))
        assert link.overdue_seconds() == 0, "the answer has arrived, and nobody has read it"
        link.read_response()
        assert link.overdue_seconds() == 0
        proxy.forget()
        link.send_command("PING")
        wait_until(lambda: link.overdue_seconds() > 0.05)
        assert transport.silent_seconds() > 0.05
        link.disconnect()
        assert link.overdue_seconds() == 0


def test_a_broker_that_an_app_lets_wait_longer_for_messages_owes_its_answer_later(
    real_server: EmbeddedServer,
) -> None:
    transport.repair()
    for interval, is_late in ((0.1, True), (30, False), (0, False)):
        with (
            proxy_to(real_server.socket_path) as proxy,
            Connection(proxy.url, transport_options={"polling_interval": interval}) as connection,
        ):
            link = connection.default_channel.client.connection_pool.get_connection()
            proxy.forget()
            link.send_command("PING")
            time.sleep(0.1)
            assert (link.overdue_seconds() > 0) == is_late
            link.disconnect()


def test_a_child_does_not_end_the_connections_of_its_parent(real_server: EmbeddedServer) -> None:
    transport.repair()
    with Connection(broker_url(real_server.unix_url)) as connection:
        assert connection.default_channel.client.ping() and transport._all_connections()
        if not (child := os.fork()):
            os._exit(len(transport._all_connections()))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_only_our_own_app_waits_for_its_broker_without_end(base_dir: Path) -> None:
    settings = Settings.load(base_dir=str(base_dir))
    ours, theirs = make_app(settings), Celery("theirs", set_as_current=False)
    install(theirs, settings)
    assert ours.conf.broker_connection_max_retries is None
    assert theirs.conf.broker_connection_max_retries == 100
    ours.close()
    theirs.close()


@pytest.mark.parametrize(("number", "tries"), [(None, None), (7, 7), (0, 0)])
def test_an_app_that_chooses_no_number_of_tries_reaches_for_its_broker_without_end(
    number: int | None, tries: int | None
) -> None:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.update({} if number is None else {"broker_connection_max_retries": number})
    assert number is not None or app.conf.broker_connection_max_retries == 100
    retry_without_end(app)
    assert app.conf.broker_connection_max_retries == tries
    app.close()
