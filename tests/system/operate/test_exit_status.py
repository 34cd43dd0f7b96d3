"""The long-running commands end in order, with status 0, by each of the usual signals."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

from stack import Stack
from support import console_env, wait_until
from tempfleet_tasks.console.node import exit_status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("command", "ready"), [("worker", r"( ready\.)"), ("beat", "(beat: Starting)")])
def test_a_signal_ends_a_worker_and_a_beat_with_status_0(
    stack: Stack, tmp_path: Path, number: signal.Signals, command: str, ready: str
) -> None:
    env = console_env(tmp_path, **stack.env())
    process = stack.run(sys.executable, "-P", "-m", "tempfleet.cli", command, env=env, name=command)
    wait_until(lambda: stack.first_match(process, ready), timeout=60)
    process.popen.send_signal(number)
    assert process.popen.wait(30) == 0, process.output


@pytest.mark.parametrize(
    ("shutdowns", "status"), [([], 1), (["Warm"], 0), (["Warm", "Warm"], 0), (["Warm", "Cold"], 1)]
)
def test_a_worker_that_fails_or_is_stopped_at_once_keeps_celerys_status(
    shutdowns: list[str], status: int
) -> None:
    assert exit_status(1, shutdowns) == status


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_a_worker_and_a_beat_end_with_status_2_if_their_log_cannot_be_written(
    stack: Stack, tmp_path: Path, command: str
) -> None:
    process = stack.celery(command, env=stack.env(LOG_FILE=str(tmp_path / "missing" / "log")))
    assert process.popen.wait(60) == 2, process.output
    assert re.search(
        r"^Error: LOG_FILE=.*: cannot be written: No such file or directory$", process.output, re.M
    )
