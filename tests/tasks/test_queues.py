"""Our queues are declared in one way, whatever the defaults of an app are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import Celery, signals
from kombu.entity import Queue

from tempfleet import Settings
from tempfleet_tasks import install, make_app
from tempfleet_tasks.routing import host_queue, shared_queue

DEFAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "priorities": {"task_queue_max_priority": 10},
    "quorum queues": {"task_create_missing_queue_type": "quorum", "task_default_queue_type": "quorum"},
    "transient messages": {"task_default_delivery_mode": 1},
    "a topic exchange": {"task_default_exchange": "shop", "task_default_exchange_type": "topic"},
    "only known queues": {"task_create_missing_queues": False},
}


@pytest.fixture
def settings(base_dir: Path) -> Settings:
    return Settings.load(base_dir=str(base_dir), host="web-1")


def declaration(queue: Queue) -> dict[str, Any]:
    return dict(queue.as_dict(recurse=True))


@pytest.mark.parametrize("defaults", DEFAULTS.values(), ids=DEFAULTS)
@pytest.mark.parametrize("configured", ["before", "after"])
def test_the_defaults_of_an_app_do_not_change_our_queues(
    settings: Settings, defaults: dict[str, Any], configured: str
) -> None:
    app = Celery("shop", broker="memory://", set_as_current=False)
    if configured == "before":
        app.conf.update(defaults)
    install(app, settings)
    app.conf.update(defaults)
    signals.worker_init.send(sender=type("Worker", (), {"app": app})())
    ours = make_app(settings)
    for queue in (shared_queue(settings), host_queue(settings, "web-1"), host_queue(settings, "web-2")):
        assert declaration(app.amqp.queues[queue.name]) == declaration(queue)
    assert declaration(ours.amqp.queues["tempfleet"]) == declaration(shared_queue(settings))
    expected = {"queue_arguments": {"x-queue-type": "classic"}, "durable": True, "max_priority": None}
    assert expected.items() <= declaration(app.amqp.queues["tempfleet"]).items()
    assert app.amqp.queues["tempfleet"].exchange.name == ""
    assert app.amqp.queues["tempfleet"].exchange.delivery_mode == 2
    ours.close()
    app.close()


def test_an_app_s_own_queues_keep_its_defaults(settings: Settings) -> None:
    app = Celery("shop", broker="memory://", set_as_current=False)
    install(app, settings)
    app.conf.update(DEFAULTS["priorities"])
    assert app.amqp.queues["orders"].queue_arguments == {"x-max-priority": 10}
    app.close()


def test_an_app_may_set_its_queues_after_install(settings: Settings) -> None:
    app = Celery("shop", broker="memory://", set_as_current=False)
    install(app, settings)
    app.conf.task_queues = [Queue("orders")]
    assert set(app.amqp.queues) == {"orders"}
    app.close()


def test_an_app_whose_queues_exist_already_finds_ours(settings: Settings) -> None:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.update(DEFAULTS["priorities"])
    assert set(app.amqp.queues) == {"celery"}
    install(app, settings)
    assert declaration(app.amqp.queues["tempfleet"]) == declaration(shared_queue(settings))
    app.close()
