"""Messages that waited too long: a real worker throws them away unread."""

from __future__ import annotations

from celery import Celery

from stack import Stack
from support import wait_until
from tempfleet import Volume
from tempfleet.registry.connection import connect
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.store import Store


def test_a_message_that_expired_unread_is_not_taken_for_one_that_waits(stack: Stack) -> None:
    """Else a queue that is never empty for other reasons would see no sweep and no wake-up again."""
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
