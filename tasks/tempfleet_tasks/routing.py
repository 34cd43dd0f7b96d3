"""
Queues: a shared one that every worker reads, and one for each host that only its own workers read.

Messages to a host's queue are published with nothing to declare, so no binding is left behind for a host that never
returns. The queue has no ``expires``: publishing would refresh it, consuming would not, and a live worker would lose
messages.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.app.amqp import task_message
from celery.app.routes import Router
from celery.app.task import X_DEATH_HEADERS, Context
from kombu.entity import Queue
from kombu.exceptions import ChannelError, DecodeError, EncodeError
from kombu.serialization import prepare_accept_content, registry

from tempfleet import Settings

from .queues import fixed_queue

JSON = "application/json"

EMBED = ("callbacks", "errbacks", "chain", "chord")
"""The parts of a request that hang on the task. A message carries them in its body, after the arguments."""

ADDED_BY_WORKER = frozenset(
    {
        *EMBED,
        "args",
        "called_directly",
        "compression",
        "correlation_id",
        "delivery_info",
        "hostname",
        "is_eager",
        "kwargs",
        "logfile",
        "loglevel",
        "properties",
        "reply_to",
        "soft_time_limit",
        "time_limit",
    }
)
"""What a request has beside the headers of its message. Everything else is a header, also one of the sender's own."""

ADDED_BY_CONTEXT = frozenset({"_children", "_protected"})


def shared_queue(settings: Settings) -> Queue:
    return fixed_queue(settings.namespace)


def host_queue(settings: Settings, host: str) -> Queue:
    return fixed_queue(f"{settings.namespace}.host.{host}")


def send(app: Celery, task: str, queue: Queue, kwargs: dict[str, Any], **options: Any) -> None:
    """Publish a message to exactly *queue*. Long arguments are shortened for Flower and logs, not in the message."""
    short_kwargs = {name: _short(value) for name, value in kwargs.items()}
    app.send_task(
        task,
        kwargs=kwargs,
        queue=queue,
        declare=[],
        serializer=serializer_of(app),
        kwargsrepr=repr(short_kwargs),
        ignore_result=True,
        router=only_to_queues(app),
        **options,
    )


def only_to_queues(app: Celery) -> Router:
    """Returns a router without the app's ``task_routes``, which may name an exchange that has none of our queues."""
    return Router(queues=app.amqp.queues, app=app)


def send_on(app: Celery, request: Context, queue: Queue, **more: str) -> None:
    """
    Publish the message of *request* once more, to exactly *queue*, with the headers *more*.

    It keeps its id and everything that its sender hung on it, so the task that runs there is the sender's: callbacks,
    chain, chord, group, result, expiry, priority, stamps, retries. Only its delay (eta) is over. ``Task.replace`` and
    ``Task.retry`` would make a new message, without some of these.

    Raises:
        OperationalError: the broker did not take it.
    """
    headers = _headers_of(request)
    body = (request.args, request.kwargs, {name: getattr(request, name) for name in EMBED})
    message = task_message(
        headers={**headers, "eta": None, **more},
        properties={
            "correlation_id": request.correlation_id or request.id,
            "reply_to": request.reply_to or "",
            "priority": (request.delivery_info or {}).get("priority"),
        },
        body=body,
        sent_event=None,
    )
    with app.producer_or_acquire() as producer:
        app.amqp.send_task_message(
            producer,
            headers["task"],
            message,
            queue=queue,
            declare=[],
            serializer=_serializer_for(app, body),
            retry=True,
        )


def _headers_of(request: Context) -> dict[str, Any]:
    """
    Returns the headers that the sender gave to the message, in Celery's form or in his own.

    RabbitMQ adds some about its dead letters, which would make it see a cycle. Celery adds a mapping ``headers`` of the
    sender's own, unless the sender has sent one, as tracing tools do.
    """
    found = {
        name: value
        for name, value in vars(request).items()
        if name not in ADDED_BY_WORKER | ADDED_BY_CONTEXT | X_DEATH_HEADERS
    }
    inner = found.pop("headers", None)
    if inner and any(name not in found for name in inner):
        found["headers"] = inner
    return found


def _serializer_for(app: Celery, body: object) -> str:
    """
    Returns the serializer of our messages if it carries *body* unchanged, else one of the app's that does. What hangs
    on a pickled message may be more than JSON can express.
    """
    usual = serializer_of(app)
    names = map(registry.type_to_name.get, sorted(prepare_accept_content(app.conf.accept_content) or ()))
    candidates = (usual, app.conf.task_serializer, *filter(None, names))
    return next((name for name in candidates if _carries(name, body)), usual)


def _carries(serializer: str, body: object) -> bool:
    try:
        content_type, encoding, payload = registry.dumps(body, serializer)
        decoded = registry.loads(payload, content_type, encoding, accept=[content_type])
    except (EncodeError, DecodeError):
        return False
    return bool(_as_lists(decoded) == _as_lists(body))


def _as_lists(value: Any) -> Any:
    """A tuple and a list are the same here, as they are for Celery."""
    if isinstance(value, dict):
        return {name: _as_lists(item) for name, item in value.items()}
    return [_as_lists(item) for item in value] if isinstance(value, list | tuple) else value


def serializer_of(app: Celery) -> str:
    """Returns the serializer of our messages: JSON, which every worker reads unless its app refuses it."""
    accepted = prepare_accept_content(app.conf.accept_content)
    return "json" if accepted is None or JSON in accepted else str(app.conf.task_serializer)


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
