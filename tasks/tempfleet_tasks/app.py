"""
Celery's side: ``install(app)`` gives any app the tasks, ``make_app(settings)`` builds one that has nothing else.

The settings of our own app, and why (measured; another app can choose its own):

    pool threads            Unlinking releases the GIL. Metrics and control commands live in one process. It needs a
                            third of prefork's memory. Celery's time limits do not work in it, so each clean-up has a
                            time budget.
    acks_late               With kill -9 and four busy threads, four messages were lost that were acked early, and
                            none that was acked late.
    default queue celery    Callbacks that name no queue go there. Their app's workers read it, and ours do not.
    prefetch 1              Fair, at no measured cost.
    restore interval 10 s   The messages of a killed worker are looked for every 10 s instead of every 100 s.
    socket timeouts         Without them, publishing on a dead socket waits for ever.
    keep-alive options      A connection that a firewall has forgotten ends after 35 s instead of two hours.
    endless retries         Celery's default ends the worker after 100 attempts, about 47 minutes.
    soft shutdown           A cold stop would hide its messages until the visibility timeout.
    plain beat scheduler    Needs no shelve file. Two beats give high availability: a second sweep finds nothing to do.
"""

from __future__ import annotations

from typing import Any

from celery import Celery, signals

from tempfleet import RegistryError, Settings
from tempfleet.embedded import broker_url
from tempfleet.logs import logger, printable
from tempfleet.registry import KEEPALIVE

from . import routing
from .binding import TEMPORARY_ERRORS, SweepTask, bind, bind_message
from .messages import Clear, Register, RegisterMany, Renew, Unregister, delete_due, receive_sweep
from .queues import know_queues
from .runtime import RuntimeOf
from .worker import (
    PatienceStep,
    broker_watch,
    consumer_step_for,
    count_discards,
    log_as_set,
    repair_transport,
    replace_rubbish,
    retry_without_end,
    steps_for,
)

EXPIRING_TASKS = ("tempfleet.sweep", "tempfleet.delete_due")


def install(app: Celery, settings: Settings | None = None) -> RuntimeOf:
    """
    Give *app* the tasks, the sweep in its beat schedule, and workers that serve their host.

    Idempotent. It may be called before or after the app is configured, and leaves the app's own worker settings
    unchanged.

    Args:
        settings: those of the environment by default.
    """
    if hasattr(app, "tempfleet"):
        installed: RuntimeOf = app.tempfleet
        return installed
    repair_transport()
    replace_rubbish()
    settings = settings or Settings.load()
    know_queues(app, settings.namespace)
    runtime_of = app.tempfleet = RuntimeOf(app, settings)
    _add_tasks(app, runtime_of)
    _take_expired(app, runtime_of)
    app.steps["worker"].update(steps_for(runtime_of))
    app.steps["consumer"].update((consumer_step_for(runtime_of), PatienceStep))
    count_discards(app, runtime_of)
    _subscribe(app, settings)
    _watch_broker(app)
    return runtime_of


def make_app(settings: Settings | None = None) -> Celery:
    """Returns an app that does only Tempfleet's work."""
    settings = settings or Settings.load()
    app = Celery("tempfleet", broker=broker_url(settings.effective_broker_url), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_queues=[routing.shared_queue(settings)],
        task_routes={"tempfleet.*": {"queue": routing.shared_queue(settings).name}},
        task_default_exchange=routing.shared_queue(settings).name,
        task_send_sent_event=True,
        worker_send_task_events=True,
        worker_pool="threads",
        worker_concurrency=4,
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=10,
        worker_enable_soft_shutdown_on_idle=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 3,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "socket_keepalive_options": KEEPALIVE,
            "health_check_interval": 25,
        },
        beat_scheduler="celery.beat:Scheduler",
        beat_max_loop_interval=5,
    )
    install(app, settings)
    _read_no_others(app)
    log_as_set(settings)
    return app


def _add_tasks(app: Celery, runtime_of: RuntimeOf) -> None:
    """
    A message about a file is retried until it succeeds, because a lost registration is a leaked file. The others are
    not retried, because beat sends the next sweep anyway; that sweep expires when the next one is due.
    """
    for message in (Register, RegisterMany, Renew, Unregister):
        bind_message(
            app, runtime_of, message, autoretry_for=TEMPORARY_ERRORS, retry_backoff=True, max_retries=None
        )
    bind_message(app, runtime_of, Clear)
    bind(app, runtime_of, "tempfleet.delete_due", delete_due, ignore_result=True)
    sweep = bind(app, runtime_of, "tempfleet.sweep", receive_sweep, base=SweepTask, ignore_result=True)
    interval = runtime_of.settings.cleanup_interval_seconds
    app.add_periodic_task(interval, sweep.s(), name="tempfleet.sweep", expires=interval)


def _take_expired(app: Celery, runtime_of: RuntimeOf) -> None:
    """
    Record that an expired message no longer waits, although no task ran. Otherwise, if other messages keep the queue
    from ever being empty, no message of its kind would be sent again.
    """

    def record_expired(sender: Any, request: Any, **_kwargs: Any) -> None:
        if sender.app is not app or sender.name not in EXPIRING_TASKS:
            return
        kind, volume = sender.name.removeprefix("tempfleet."), (request.kwargs or {}).get("volume")
        message = kind if volume is None else f"{kind} {volume}"
        try:
            runtime_of().fleet.mark_taken(message)
        except RegistryError as exc:
            logger.warning("Could not record that %s expired in its queue: %s", printable(message), exc)

    signals.task_revoked.connect(record_expired, weak=False, dispatch_uid=f"tempfleet-expired-{id(app)}")


def _subscribe(app: Celery, settings: Settings) -> None:
    """Let every worker of *app* read the shared queue and its host's own, with any pool and any -Q."""

    def add_queues(sender: Any, **_kwargs: Any) -> None:
        if sender.app is app:
            for queue in (routing.shared_queue(settings), routing.host_queue(settings, settings.host)):
                app.amqp.queues.select_add(queue)

    signals.worker_init.connect(add_queues, weak=False, dispatch_uid=f"tempfleet-{id(app)}")


def _watch_broker(app: Celery) -> None:
    """
    Let every beat of *app* leave a broker that has fallen silent, as its workers do, and every child of their pools,
    which has connections of its own: they would wait for ever. And let a beat try to reach the broker without end.
    """

    def watch(sender: Any, **_kwargs: Any) -> None:
        # A child does not tell whose it is.
        if getattr(sender, "app", app) is app:
            broker_watch().start()
            retry_without_end(app)

    signals.beat_init.connect(watch, weak=False, dispatch_uid=f"tempfleet-beat-{id(app)}")
    signals.worker_process_init.connect(watch, weak=False, dispatch_uid="tempfleet-child")


def _read_no_others(app: Celery) -> None:
    """Before 5.7, a worker of Celery that reconnects would also read the queues that it has sent messages to."""

    def select_queues(sender: Any, **_kwargs: Any) -> None:
        queues = app.amqp.queues
        if sender.app is app and queues.consume_from is queues:
            queues.select(list(queues))

    signals.worker_init.connect(select_queues, weak=False, dispatch_uid=f"tempfleet-others-{id(app)}")
