"""Messages that expired in their queue: a real worker discards them unread."""

from __future__ import annotations

from celery import Celery

from stack import Stack
from support import wait_until
from tempfleet import Volume
from tempfleet.registry.connection import connect
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.store import Store


def test_a_message_that_expired_unread_no_longer_counts_as_waiting(stack: Stack) -> None:
    """Otherwise, if other messages keep a queue from being empty, no sweep and no wake-up would be sent again."""
    env = stack.env(TEMP_FILE_TIMER_INTERVAL="3600")
    volume = str(Volume("web-1", env["TEMP_FILE_BASE_DIR"]))
    client = connect(stack.server.unix_url)
    fleet = Fleet(Store(client))
    assert fleet.mark_waiting("sweep") and fleet.mark_waiting(f"delete_due {volume}")
    with Celery(broker=env["TEMP_FILE_BROKER_URL"]) as app:
        app.send_task("tempfleet.sweep", queue="tempfleet", expires=-1)
        app.send_task(
            "tempfleet.delete_due", kwargs={"volume": volume}, queue="tempfleet.host.web-1", expires=-1
        )
    stack.worker("web-1", web=False, TEMP_FILE_TIMER_INTERVAL="3600")
    wait_until(lambda: client.zcard("tempfleet:waiting") == 0)
    client.close()
