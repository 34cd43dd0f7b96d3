"""
Our queues, declared by everybody in the same way.

On RabbitMQ a queue keeps the arguments of its first declaration, and a declaration with others is refused with 406,
which ends a worker. Celery gives an app's defaults to queues that it does not know, and to those that are added to the
app: ``task_queue_max_priority``, ``task_create_missing_queue_type``, ``task_default_delivery_mode``, its default
exchange. So two apps would declare our queues in two ways. A ``FixedQueue`` does not take such defaults.

If a queue has other arguments nevertheless, because another program declared it first, it is used as it is, and the
worker or program logs an error with the remedy.
"""

from __future__ import annotations

import re
from typing import Any

from amqp import Channel
from amqp.exceptions import PreconditionFailed, RecoverableConnectionError
from celery import Celery
from kombu.entity import Exchange, Queue

from tempfleet.logs import logger, printable

NOWHERE = Exchange("", type="direct", delivery_mode="persistent")
"""The anonymous exchange. It delivers a message to the queue with the name of its routing key."""

IS_QUORUM = re.compile(r"current is (the value )?'quorum'")

_quorum: set[str] = set()
"""Names of our queues that another program declared as quorum queues."""

_reported: set[str] = set()


class FixedQueue(Queue):  # type: ignore[misc]
    """A durable classic queue with no other arguments, whatever is assigned to it later."""

    exchange = property(lambda _queue: NOWHERE, lambda _queue, _exchange: None)

    @property
    def queue_arguments(self) -> dict[str, str]:
        # A new dictionary each time: Celery adds the app's default priority to it.
        return {"x-queue-type": "quorum" if self.name in _quorum else "classic"}

    @queue_arguments.setter
    def queue_arguments(self, _arguments: object) -> None:
        pass

    def when_bound(self) -> None:
        """The exchange needs no channel, because it is never declared."""

    def queue_declare(self, nowait: bool = False, passive: bool = False, channel: Any = None) -> Any:
        channel = channel or self.channel
        if not isinstance(channel, Channel):
            return super().queue_declare(nowait, passive, channel)
        try:
            # A refusal closes the channel, so this one is only for the declaration.
            with channel.connection.channel() as own:
                return super().queue_declare(nowait, passive, own)
        except PreconditionFailed as exc:
            self._accept_as_it_is(exc.reply_text or "")
        return self.name, 0, 0

    def _accept_as_it_is(self, refusal: str) -> None:
        """
        Raises:
            RecoverableConnectionError: it is a quorum queue. Celery must know that before it opens a channel.
        """
        if self.name not in _reported:
            _reported.add(self.name)
            logger.error(
                "Another program declared the queue %s in another way (%s). It is used as it is. To make it ours: stop "
                "what uses it, wait until it is empty, run rabbitmqctl delete_queue %s, and start a worker first. An "
                "app that only sends should not declare it: send_task(..., declare=[]).",
                printable(self.name),
                printable(refusal),
                printable(self.name),
            )
        if IS_QUORUM.search(refusal) and self.name not in _quorum:
            _quorum.add(self.name)
            raise RecoverableConnectionError(f"{self.name} is a quorum queue; connecting anew for it")


def fixed_queue(name: str) -> FixedQueue:
    return FixedQueue(name, exchange=NOWHERE, routing_key=name)


def know_queues(app: Celery, namespace: str) -> None:
    """
    Let *app* find our queues by name, as ``send_task(..., queue="tempfleet")`` does; it would make one with its own
    defaults. The app's settings are not read here, because it may not be configured yet.
    """
    amqp = app.amqp
    if "queues" in vars(amqp):
        amqp.queues.add(fixed_queue(namespace))

    class Queues(amqp.queues_cls):  # type: ignore[misc, name-defined]
        def __missing__(self, name: str) -> Queue:
            if name == namespace or name.startswith(f"{namespace}.host."):
                return self.add(fixed_queue(name))
            return super().__missing__(name)

    amqp.queues_cls = Queues
