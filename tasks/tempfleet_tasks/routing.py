"""
Queue names. One shared queue that every worker reads, one for each host that only its own workers read.

A host's queue is published to as a Queue object with nothing to declare: so no binding is left behind for a host
that never comes back. It carries no ``expires`` of its own: publishing would refresh it and consuming would not, and
messages would vanish under a live worker.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import ChannelError

from tempfleet import Settings

NOWHERE = Exchange("", type="direct")
"""The anonymous exchange: a message goes to the queue that its routing key names."""


def shared_queue(settings: Settings) -> Queue:
    return _queue(settings.namespace)


def host_queue(settings: Settings, host: str) -> Queue:
    return _queue(f"{settings.namespace}.host.{host}")


def _queue(name: str) -> Queue:
    return Queue(name, exchange=NOWHERE, routing_key=name)


def send(app: Celery, task: str, queue: Queue, kwargs: dict[str, Any], **options: Any) -> None:
    """Publish a message to exactly *queue*. Long arguments are shortened where people read them, not where we do."""
    shown = {name: _short(value) for name, value in kwargs.items()}
    app.send_task(
        task,
        kwargs=kwargs,
        queue=queue,
        declare=[],
        serializer="json",
        kwargsrepr=repr(shown),
        ignore_result=True,
        **options,
    )


def waiting_messages(app: Celery, queue: Queue) -> int:
    """How many messages wait in *queue*."""
    with app.connection_for_write() as connection, connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue=queue.name, passive=True).message_count)
        except ChannelError:  # an empty list is no key, and then no queue
            return 0


def _short(value: object) -> object:
    if isinstance(value, list | tuple):
        return f"<{len(value)} items>"
    if isinstance(value, str) and len(value) > 60:
        return value[:20] + "..." + value[-37:]
    return value
