"""
Celery's side: ``install(app)`` gives any app the tasks, ``make_app(settings)`` builds one that has nothing else.

Why these worker settings (measured; each can be set otherwise in an app of one's own):

    pool threads            unlinking releases the GIL; metrics and control commands live in one process; a third of
                            prefork's memory. Time limits do not work in it, so the engine has a budget of its own.
    acks_late               kill -9 with four busy threads lost four messages acked early, none acked late
    prefetch 1              fairness, at no measured cost
    restore interval 10 s   what a killed worker held is looked for every 10 s instead of every 100
    socket timeouts         without them, publishing on a dead socket waits for ever
    soft shutdown           a cold stop would strand messages until the visibility timeout
    plain beat scheduler    no shelve file; two beats are the high availability, a second sweep is empty
"""

from __future__ import annotations

from typing import Any

from celery import Celery, signals

from tempfleet import RegistryError, Settings
from tempfleet.embedded import broker_url
from tempfleet.logs import logger, printable

from . import routing, schedule
from .binding import LATER, SweepTask, bind, bind_message
from .messages import Clear, Register, RegisterMany, Renew, Unregister, delete_due, receive_sweep
from .runtime import RuntimeOf
from .worker import remote, transport
from .worker.bootsteps import HostStep
from .worker.logging import log_as_set
from .worker.web import WebStep

REMOTE_COMMANDS = (remote.tempfleet_stats, remote.tempfleet_sweep)
"""Celery keeps these for all apps of the process; one without Tempfleet answers with an error."""


def install(app: Celery, settings: Settings | None = None) -> RuntimeOf:
    """
    Give *app* the tasks, the sweep in its beat timetable, and workers that serve their host.

    Idempotent; before or after the app's configuration. The app's own worker settings stay untouched.

    Args:
        settings: the environment's unless given.
    """
    if hasattr(app, "tempfleet"):
        return _installed(app)
    settings = settings or Settings.load()
    runtime_of = app.tempfleet = RuntimeOf(app, settings)

    for message in (Register, RegisterMany, Renew, Unregister):
        bind_message(app, runtime_of, message, autoretry_for=LATER, retry_backoff=True, max_retries=None)
    bind_message(app, runtime_of, Clear)
    bind(app, runtime_of, "tempfleet.delete_due", delete_due)
    sweep = bind(app, runtime_of, "tempfleet.sweep", receive_sweep, base=SweepTask)

    schedule.add_to(app, settings, sweep)
    _take_expired(app, runtime_of)
    host_step = type("TempfleetHost", (HostStep,), {"runtime_of": runtime_of})
    web_step = type("TempfleetWeb", (WebStep,), {"runtime_of": runtime_of, "requires": (host_step,)})
    app.steps["worker"].update((host_step, web_step))
    _subscribe(app, settings)
    return runtime_of


def make_app(settings: Settings | None = None) -> Celery:
    """An app that does nothing but Tempfleet's work."""
    settings = settings or Settings.load()
    transport.use()
    app = Celery("tempfleet", broker=broker_url(settings.effective_broker_url), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_queues=[routing.shared_queue(settings)],
        task_default_queue=routing.shared_queue(settings).name,
        task_send_sent_event=True,
        worker_send_task_events=True,
        worker_pool="threads",
        worker_concurrency=4,
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=10,
        worker_enable_soft_shutdown_on_idle=True,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 3,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
        beat_scheduler="celery.beat:Scheduler",
        beat_max_loop_interval=5,
    )
    install(app, settings)
    log_as_set(settings)
    return app


def _take_expired(app: Celery, runtime_of: RuntimeOf) -> None:
    """
    A message that expired in its queue is thrown away unread; it waits no more all the same. Otherwise, where other
    messages keep the queue from ever being empty, none of its kind would be sent again.
    """

    def thrown_away(sender: Any, request: Any, **_kwargs: Any) -> None:
        if sender.app is not app or sender.name not in ("tempfleet.sweep", "tempfleet.delete_due"):
            return
        kind, volume = sender.name.removeprefix("tempfleet."), (request.kwargs or {}).get("volume")
        message = kind if volume is None else f"{kind} {volume}"
        try:
            runtime_of().fleet.mark_taken(message)
        except RegistryError as exc:
            logger.warning("Cannot note that %s waits no more: %s", printable(message), exc)

    signals.task_revoked.connect(thrown_away, weak=False, dispatch_uid=f"tempfleet-expired-{id(app)}")


def _subscribe(app: Celery, settings: Settings) -> None:
    """Have every worker of *app* read the shared queue and its host's own, with any pool and any -Q."""

    def add_queues(sender: Any, **_kwargs: Any) -> None:
        if sender.app is app:
            for queue in (routing.shared_queue(settings), routing.host_queue(settings, settings.host)):
                app.amqp.queues.select_add(queue)

    signals.worker_init.connect(add_queues, weak=False, dispatch_uid=f"tempfleet-{id(app)}")


def _installed(app: Celery) -> RuntimeOf:
    installed: RuntimeOf = app.tempfleet
    return installed
