"""Turns plain functions and message classes into Celery tasks."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable
from typing import Any, TypeVar

from celery import Celery
from celery.app.task import Task
from celery.backends.base import DisabledBackend
from celery.exceptions import Reject, TaskPredicate

from tempfleet import (
    RegistryDenied,
    RegistryFull,
    RegistryUnavailable,
    SchemaMismatch,
    TempfleetError,
    VolumeUnavailable,
)
from tempfleet.errors import MalformedMessage
from tempfleet.logs import logger

from . import routing
from .messages import FileMessage, route, sweep_waits
from .runtime import Runtime, RuntimeOf

TEMPORARY_ERRORS = (RegistryUnavailable, RegistryFull, RegistryDenied, SchemaMismatch, VolumeUnavailable)
"""Errors that end by themselves, or when somebody corrects a password or upgrades the registry."""

_short = reprlib.Repr()
_short.maxstring = 200

Function = Callable[..., dict[str, Any]]
T = TypeVar("T")


class FleetTask(Task):  # type: ignore[misc]
    """
    Goes to the shared queue by default; the worker that receives it routes it.

    Attributes:
        names_files: it is counted if it is thrown away. Sweeps and deletion messages are not: they expire if the next
            one is due, and lose nothing.
    """

    abstract = True
    runtime_of: RuntimeOf
    names_files = False

    @property
    def serializer(self) -> str:
        return routing.serializer_of(self.app)

    def retry(self, *args: Any, **options: Any) -> Any:
        """As Celery's, but a message whose retry the broker did not take goes back to it, instead of being lost."""
        try:
            return super().retry(*args, **options)
        except Reject as exc:
            raise Reject(exc.reason, requeue=True) from exc

    def on_failure(self, exc: Exception, task_id: str, *_details: object) -> None:
        """Count what is not retried any more. Our retries have no end, unless the app's ``task_annotations`` do."""
        if self.names_files and isinstance(exc, TEMPORARY_ERRORS):
            self.runtime_of().refusals.count(type(exc).__name__, f"{self.name}[{task_id}]", exc)

    def after_return(self, status: str, retval: object, task_id: str, *_details: object) -> None:
        if self.request.chord and isinstance(self.app.backend, DisabledBackend):
            logger.warning(
                "The chord of %s[%s] never ends, because this worker has no result back-end: "
                "set CELERY_RESULT_BACKEND, or that of your app",
                self.name,
                task_id,
            )

    def apply_async(self, *args: Any, **options: Any) -> Any:
        if "queue" not in options:
            options["queue"] = routing.shared_queue(self.runtime_of.settings)
            options.setdefault("router", routing.only_to_queues(self.app))
        return super().apply_async(*args, **options)


class SweepTask(FleetTask):
    """Is not sent while another sweep still waits, whichever beat sent that one."""

    abstract = True

    def apply_async(self, *args: Any, **options: Any) -> Any:
        if sweep_waits(self.app, self.runtime_of.settings, self.runtime_of().fleet):
            logger.info("A sweep is waiting already, so none is sent. Is a worker running?")
            return None
        return super().apply_async(*args, **options)


def bind(
    app: Celery,
    runtime_of: RuntimeOf,
    name: str,
    function: Function,
    *,
    base: type[FleetTask] = FleetTask,
    **options: Any,
) -> Task:
    """Returns *function* as a task of *app* alone; without ``shared=False`` every app would have it."""

    def run(_task: Task, /, *args: Any, **kwargs: Any) -> dict[str, Any]:
        runtime = runtime_of()
        try:
            return _call(name, function, (runtime, *args), kwargs)
        except Exception as exc:
            _count_refusal(runtime, f"{name}({_short.repr(args)}, {_short.repr(kwargs)})", exc)
            raise

    run.__doc__ = function.__doc__
    return app.task(
        run,
        name=name,
        base=base,
        bind=True,
        shared=False,
        typing=False,
        acks_late=True,
        throws=(TempfleetError,),
        runtime_of=runtime_of,
        **options,
    )


def bind_message(app: Celery, runtime_of: RuntimeOf, message_type: type[FileMessage], **options: Any) -> Task:
    """Returns the task that builds a message from its arguments and routes it."""

    def receive(runtime: Runtime, /, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return route(runtime, _call(message_type.task, message_type, args, kwargs))

    receive.__doc__ = message_type.__doc__
    return bind(app, runtime_of, message_type.task, receive, names_files=True, **options)


def _call(name: str, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    """
    Raises:
        MalformedMessage: *function* does not take these arguments.
    """
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as exc:
        names = ", ".join(parameter for parameter in signature.parameters if parameter != "runtime")
        raise MalformedMessage(f"{name} takes ({names}): {exc}.") from None
    return function(*args, **kwargs)


def _count_refusal(runtime: Runtime, call: str, exc: Exception) -> None:
    """Count and log a message that is not carried out and not retried, so that it is not only a red line in Flower."""
    if not isinstance(exc, (*TEMPORARY_ERRORS, TaskPredicate)):
        runtime.refusals.count(type(exc).__name__, call, exc)
