"""
Queues: a shared one that every worker reads, and one for each host that only its own workers read.

Messages to a host's queue are published with nothing to declare, so no binding is left behind for a host that never
returns. The queue has no ``expires``: publishing would refresh it, consuming would not, and a live worker would lose
messages.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import ChannelError

from tempfleet import Settings

NOWHERE = Exchange("", type="direct")
"""The anonymous exchange. It delivers a message to the queue with the name of its routing key."""


def shared_queue(settings: Settings) -> Queue:
    return _queue(settings.namespace)


def host_queue(settings: Settings, host: str) -> Queue:
    return _queue(f"{settings.namespace}.host.{host}")


def _queue(name: str) -> Queue:
    return Queue(name, exchange=NOWHERE, routing_key=name)


def send(app: Celery, task: str, queue: Queue, kwargs: dict[str, Any], **options: Any) -> None:
    """Publish a message to exactly *queue*. Long arguments are shortened for Flower and logs, not in the message."""
    short_kwargs = {name: _short(value) for name, value in kwargs.items()}
    app.send_task(
        task,
        kwargs=kwargs,
        queue=queue,
        declare=[],
        serializer="json",
        kwargsrepr=repr(short_kwargs),
        ignore_result=True,
        **options,
    )


def waiting_messages(app: Celery, queue: Queue) -> int:
    """Returns the number of messages in *queue*."""
    with app.connection_for_write() as connection, connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue=queue.name, passive=True).message_count)
        except ChannelError:
            # In Redis an empty list does not exist, so the queue does not.
            return 0


def _short(value: object) -> object:
    if isinstance(value, list | tuple):
        return f"<{len(value)} items>"
    if isinstance(value, str) and len(value) > 60:
        return value[:20] + "..." + value[-37:]
    return value
