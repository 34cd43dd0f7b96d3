"""
Counts the messages that Celery discards before a task of ours runs, and keeps a malformed one from harming the worker.

    another serializer, malformed envelope    task_rejected
    a body that cannot be decoded             Consumer.on_decode_error, which has no signal
    an unknown task                           task_unknown
    expired, or revoked                       task_revoked
    its process died, or was too slow         task_failure, in the main process

Only messages in our queues count, and those that name a task of ours. Another app's own messages are its own business.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import Celery, bootsteps, signals
from celery.exceptions import InvalidTaskError
from kombu.exceptions import ContentDisallowed
from kombu.message import Message

from tempfleet.logs import printable

from .. import routing
from ..runtime import RuntimeOf
from .envelope import check_envelope

OURS = "tempfleet."
"""How the names of our tasks begin, in every namespace."""


class DiscardStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Checks each message of ours before Celery does, and counts those that cannot be decoded."""

    # As in bootsteps.HostStep.
    runtime_of: RuntimeOf

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        # Before the consumer starts: then it hands both to kombu.
        consumer.on_decode_error = partial(_decode_error, self.runtime_of, consumer.on_decode_error)
        consumer.create_task_handler = partial(
            _task_handler, self.runtime_of, consumer, consumer.create_task_handler
        )


def _decode_error(
    runtime_of: RuntimeOf, discard: Callable[..., None], message: Message, exc: Exception
) -> None:
    # Celery logs the length of the body.
    message.body = message.body or b""
    discard(message, exc)
    if _is_ours(runtime_of, message):
        reason = "ContentDisallowed" if isinstance(exc, ContentDisallowed) else "DecodeError"
        _count(runtime_of, reason, message, exc)


def _task_handler(
    runtime_of: RuntimeOf, consumer: Any, make_handler: Callable[..., Any], *args: Any, **kwargs: Any
) -> Callable[[Message], Any]:
    handle = make_handler(*args, **kwargs)

    def receive(message: Message) -> Any:
        if _is_ours(runtime_of, message):
            try:
                check_envelope(message, consumer.app.tasks)
            except (InvalidTaskError, ContentDisallowed) as exc:
                message.body = message.body or b""
                return consumer.on_invalid_task(None, message, exc)
            except Exception as exc:  # noqa: BLE001 - a decoder may raise anything
                return consumer.on_decode_error(message, exc)
        return handle(message)

    return receive


def count_discards(app: Celery, runtime_of: RuntimeOf) -> None:
    """Count what Celery's signals tell about messages to *app*'s workers."""

    def rejected(sender: Any, message: Message, exc: Exception | None, **_kwargs: Any) -> None:
        if sender.app is app and _is_ours(runtime_of, message):
            reason = "ContentDisallowed" if isinstance(exc, ContentDisallowed) else "InvalidTaskError"
            _count(runtime_of, reason, message, exc or "it names no task")

    def unknown(sender: Any, message: Message, name: object, **_kwargs: Any) -> None:
        if sender.app is app and _is_ours(runtime_of, message):
            _count(runtime_of, "UnknownTask", message, f"no task is called {name!r:.100}")

    def revoked(sender: Any, request: Any, expired: bool, **_kwargs: Any) -> None:
        if _is_file_message(app, sender):
            reason = "Expired" if expired else "Revoked"
            runtime_of().refusals.count(reason, f"{sender.name}[{request.id}]", "it did not run")

    def failed(sender: Any, task_id: object, exception: object, **_kwargs: Any) -> None:
        if _is_file_message(app, sender) and isinstance(exception, WorkerLostError | TimeLimitExceeded):
            runtime_of().refusals.count(
                type(exception).__name__, f"{sender.name}[{task_id}]", exception.args[0]
            )

    for signal, receiver in (
        (signals.task_rejected, rejected),
        (signals.task_unknown, unknown),
        (signals.task_revoked, revoked),
        (signals.task_failure, failed),
    ):
        signal.connect(receiver, weak=False, dispatch_uid=f"tempfleet-{receiver.__name__}-{id(app)}")


def _is_file_message(app: Celery, task: Any) -> bool:
    return task.app is app and getattr(task, "names_files", False)


def _is_ours(runtime_of: RuntimeOf, message: Message) -> bool:
    settings = runtime_of.settings
    queues = (routing.shared_queue(settings).name, routing.host_queue(settings, settings.host).name)
    return _queue_of(message) in queues or _name_of(message).startswith(OURS)


def _queue_of(message: Message) -> str:
    """The routing key. With the anonymous exchange, which Celery uses, it is the name of the queue."""
    return str((message.delivery_info or {}).get("routing_key", ""))


def _name_of(message: Message) -> str:
    headers = message.headers
    return str(headers.get("task", "")) if isinstance(headers, dict) else ""


def _count(runtime_of: RuntimeOf, reason: str, message: Message, why: object) -> None:
    what = f"A message to {printable(_queue_of(message))} ({printable(_name_of(message))[:100] or 'no task'})"
    runtime_of().refusals.count(reason, what, printable(f"{why}"[:200]))
