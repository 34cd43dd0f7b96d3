"""
What a worker process does beside its tasks, and how our own workers log and connect.

    bootsteps   the threads of a worker: heartbeat, clean-ups, announcements, compression
    discards    the messages that Celery discards, and malformed ones
    web         metrics, probes and the status page of a worker
    remote      the remote-control commands
    logging     the logs of our own workers
    rubbish     what is in a queue of Redis, but is not a message
    transport   repairs of the connection to a Redis broker
    patience    what a worker does while Redis refuses its commands

Promises: a worker that runs our steps sends its host's heartbeat, cleans its volumes by a timer, and serves metrics and
probes. It does so with a dead beat or a dead broker too. Importing this package adds the remote-control commands.

Does not: handle messages, or change an app that somebody else configured. ``log_as_set`` is for our own app only.
"""

from . import remote as _remote  # noqa: F401 - its commands register themselves, for all apps of the process
from .bootsteps import broker_watch, consumer_step_for, steps_for
from .discards import count_discards
from .logging import log_as_set
from .patience import PatienceStep, retry_without_end
from .rubbish import replace_rubbish
from .transport import repair as repair_transport

__all__ = [
    "PatienceStep",
    "broker_watch",
    "consumer_step_for",
    "count_discards",
    "log_as_set",
    "repair_transport",
    "replace_rubbish",
    "retry_without_end",
    "steps_for",
]
