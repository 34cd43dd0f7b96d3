"""Section 3.3: what the manager does with a file, step by step."""

from __future__ import annotations

import logging

import pytest

from specification.material import New, temporary_file
from tempfleet.testing import FakeClock
from tempfleet_tasks import make_app


def test_3_3_a_file_is_inspected_recorded_logged_then_expires_is_deleted_logged_and_counted(
    new: New, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "tempfleet")
    manager = new(max_age=60)
    path = temporary_file()
    manager.register_file(path + ".not-there")
    manager.register_file(path)
    assert list(manager.files) == [path]
    clock.advance(59)
    assert manager.cleanup() == 0
    clock.advance(1)
    assert manager.cleanup() == 1
    steps = ("Attempted to register non-existent", "Registered", "Removed", "Cleaned up 1 ")
    # One iterator for all steps, so that they must be in this order.
    lines = iter(caplog.messages)
    assert all(any(line.startswith(step) for line in lines) for step in steps)


def test_3_3_beat_and_every_worker_check_periodically(new: New) -> None:
    """With a real worker and beat: tests/system/stories/test_two_hosts.py."""
    app = make_app(new().settings)
    app.finalize()
    assert app.conf.beat_schedule["tempfleet.sweep"]["schedule"] == 300
    assert new().settings.timer_interval_seconds == 60
