"""
How a worker waits for a broker that answers, but refuses.

Celery reconnects for ever if the broker is gone, but ends the worker if Redis refuses a command: READONLY after a
fail-over, NOREPLICAS, MISCONF with a full disk, NOPERM while somebody corrects an ACL, OOM. RabbitMQ refuses a queue
that another program has for itself (405) or that cannot be read like ours (406), and a user who has lost a right (403).
All of them end by themselves or by somebody's hand, and meanwhile the worker's own timer still has to clean. So in a
worker that runs our steps, a refusal is what a lost connection is.

Such a connection is made at once, and refused at once, so without a pause the worker would try six times a second and
log each time.

With another broker, and in programs, nothing changes.
"""

from __future__ import annotations

import time
from typing import Any

import amqp
from celery import Celery, bootsteps
from celery.app.defaults import DEFAULTS
from celery.worker.state import maybe_shutdown
from kombu.transport import redis as kombu_redis

SHORT_SECONDS = 3.0
"""A connection that lasted less was refused."""

LONGEST_PAUSE_SECONDS = 10.0

REFUSALS = {"redis": kombu_redis.exceptions.ResponseError, "amqp": amqp.ChannelError}


class PatienceStep(bootsteps.Step):  # type: ignore[misc]
    """A step of Celery's consumer. It is made when the consumer is, and has nothing to start."""

    def __init__(self, consumer: Any, **_kwargs: Any) -> None:
        retry_without_end(consumer.app)
        refusal = REFUSALS.get(consumer.conninfo.transport.driver_type)
        if refusal is not None:
            consumer.connection_errors = (*consumer.connection_errors, refusal)
            # Celery calls its step() before each new connection; its own pause is one second every six times.
            consumer._restart_state = Pauses()


def retry_without_end(app: Celery) -> None:
    """
    Let the workers and beats of *app* try to reach the broker without end. Celery's default ends them after 100 tries,
    about 47 minutes. Another number is the app's choice, and stays.
    """
    if app.conf.broker_connection_max_retries == DEFAULTS["broker_connection_max_retries"]:
        app.conf.broker_connection_max_retries = None


class Pauses:
    """Pauses before a new connection if the last one was short; the pause doubles from 1 s."""

    def __init__(self) -> None:
        self.connected_at = time.monotonic()
        self.seconds = 0.0

    def step(self) -> None:
        if time.monotonic() - self.connected_at < SHORT_SECONDS:
            self.seconds = min(max(2 * self.seconds, 1.0), LONGEST_PAUSE_SECONDS)
        else:
            self.seconds = 0.0
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            maybe_shutdown()
            time.sleep(0.1)
        self.connected_at = time.monotonic()
