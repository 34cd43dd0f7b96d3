"""
What kombu finds in a list of Redis is perhaps not a message: another program wrote it, or wrote it by hand. kombu then
raises an error, which ends the worker or its connection. Here an empty message takes its place. Celery throws that away
like any other that names no task, and logs it.

The repair is in kombu's classes, like those in transport.py.
"""

from __future__ import annotations

import functools
import json
import uuid
from typing import Any

from kombu.transport import redis as kombu_redis

from tempfleet.logs import logger, printable

DELIVERY = {"exchange", "routing_key"}


def replace_rubbish() -> None:
    """Repair this process's Redis transport. Does nothing the second time, or if kombu has another shape."""
    read = getattr(kombu_redis.Channel, "_brpop_read", None)
    deliver = getattr(kombu_redis.Transport, "_deliver", None)
    if read is None or deliver is None or hasattr(read, "repaired"):
        return

    @functools.wraps(read)
    def read_message(channel: Any, **options: Any) -> Any:
        try:
            return read(channel, **options)
        except (json.JSONDecodeError, UnicodeDecodeError):
            # It has left its list. kombu has put that list last in the order of reading.
            names = getattr(channel._queue_cycle, "items", None) or sorted(channel.active_queues)
            channel.connection._deliver(None, names[-1])
            return True

    @functools.wraps(deliver)
    def deliver_message(transport: Any, payload: object, queue: str) -> Any:
        if not is_message(payload):
            logger.warning("What another program wrote into the queue %s is not a message", printable(queue))
            payload = empty_message(queue)
        return deliver(transport, payload, queue)

    read_message.repaired = True  # type: ignore[attr-defined]
    kombu_redis.Channel._brpop_read = read_message
    kombu_redis.Transport._deliver = deliver_message


def is_message(payload: object) -> bool:
    """Returns whether kombu can make a message of *payload*, acknowledge it and give it back."""
    if not isinstance(payload, dict) or not isinstance(payload.get("properties"), dict):
        return False
    properties = payload["properties"]
    delivery = properties.get("delivery_info")
    return (
        isinstance(properties.get("delivery_tag"), str)
        and isinstance(delivery, dict)
        and delivery.keys() >= DELIVERY
        and properties.get("body_encoding") in (None, "base64")
        and isinstance(payload.get("headers") or {}, dict)
        and isinstance(payload.get("body") or "", str)
    )


def empty_message(queue: str) -> dict[str, Any]:
    delivery = {"exchange": "", "routing_key": queue}
    properties = {
        "delivery_tag": str(uuid.uuid4()),
        "delivery_info": delivery,
        "delivery_mode": 2,
        "priority": 0,
    }
    return {"body": "", "headers": {}, "properties": properties}
