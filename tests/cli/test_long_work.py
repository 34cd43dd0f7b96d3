"""A command that runs until it is stopped: ``status --watch``."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import wait_until
from tempfleet.embedded import EmbeddedServer

pytestmark = pytest.mark.process


@pytest.fixture
def environment(real_server: EmbeddedServer, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TEMP_FILE_REDIS_URL": real_server.unix_url,
        "TEMP_FILE_BASE_DIR": str(tmp_path / "base"),
        "TEMP_FILE_HOST": "web-1",
        "TERM": "xterm",
    }


def tempfleet(*words: str) -> list[str]:
    return [sys.executable, "-m", "tempfleet.cli", *words]


def test_a_watched_status_repeats_and_exits_with_0(environment: dict[str, str]) -> None:
    with subprocess.Popen(
        tempfleet("status", "--watch", "0.1", "--json"), env=environment, stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        answers = [json.loads(watching.stdout.readline()) for _ in range(3)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 0
    assert {answer["host"] for answer in answers} == {"web-1"}


def test_a_watched_status_outlives_a_redis_that_goes_away(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with EmbeddedServer.start(tmp_path / "going") as server:
        environment["TEMP_FILE_REDIS_URL"] = server.unix_url
    with subprocess.Popen(
        tempfleet("status", "--watch", "0.1", "--json"), env=environment, stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["error"] == "RegistryUnavailable"
        with EmbeddedServer.start(tmp_path / "going"):
            wait_until(lambda: json.loads(watching.stdout.readline()).get("host") == "web-1")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 0


@pytest.mark.parametrize(
    ("more", "in_place"),
    [({}, True), ({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, False)],
    ids=["colours", "no colours", "dumb"],
)
def test_a_watched_status_stays_in_its_place_on_a_terminal_that_can(
    environment: dict[str, str], more: dict[str, str], in_place: bool
) -> None:
    environment |= more
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        tempfleet("status", "--watch", "0.1"), env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    screen = bytearray()

    def redrawn() -> bool:
        screen.extend(os.read(ours, 4096))
        return screen.count(b"Base directory") >= 3

    try:
        wait_until(redrawn)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 0
    finally:
        watching.kill()
        watching.wait()
        os.close(ours)
    assert (b"\x1b[1A" in screen) is in_place  # the cursor goes up, and draws over what was there
    if more:
        assert not re.search(rb"\x1b\[[0-9;]*3[0-7]", screen)  # a colour
