"""An event is one line of the log for any file name. The log file and its handler."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from support import console, console_env, python, wait_until
from tempfleet import SettingsError, TempFileManager
from tempfleet.embedded import EmbeddedServer
from tempfleet.logs import Trouble, configure, logger, printable


def test_importing_the_library_adds_no_log_handler() -> None:
    assert logger.name == "tempfleet"
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    assert logger.level == logging.NOTSET
    assert logger.propagate


@pytest.fixture
def log_to(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """``log_to(level="INFO", form="text")`` logs to a file until the test ends. It returns the file."""
    ends: list[Callable[[], None]] = []

    def start(level: str = "INFO", form: str = "text") -> Path:
        ends.append(configure(level=level, form=form, file=str(tmp_path / "tempfleet.log")))
        return tmp_path / "tempfleet.log"

    yield start
    for end in ends:
        end()
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    assert logger.level == logging.NOTSET


def test_a_log_line_has_the_specifications_form(log_to: Callable[..., Path]) -> None:
    file = log_to()
    logger.info("Cleaned up %d temporary files", 3)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - tempfleet - INFO - Cleaned up 3 temporary files\n",
        file.read_text(),
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_event_is_one_line_for_any_name_and_traceback(form: str, log_to: Callable[..., Path]) -> None:
    file = log_to(form=form)
    try:
        raise OSError("bad\nname \x1b[2J \u2028" + os.fsdecode(b"\xff"))
    except OSError:
        logger.exception("Failed to remove temporary file: %s", "a\nb")
    (line,) = file.read_text().splitlines()
    assert line.isprintable()
    assert "Traceback" in line


def test_a_json_line_has_time_level_process_and_message(log_to: Callable[..., Path]) -> None:
    file = log_to(form="json")
    logger.warning("Kept temporary file %s for now", "/tmp/größe")
    event = json.loads(file.read_text())
    assert datetime.fromisoformat(event.pop("time")).tzinfo is UTC
    assert event == {
        "level": "WARNING", "logger": "tempfleet", "process": os.getpid(),
        "message": "Kept temporary file /tmp/größe for now",
    }  # fmt: skip


def test_a_rotated_log_file_is_reopened(log_to: Callable[..., Path]) -> None:
    file = log_to()
    logger.info("before")
    file.rename(file.with_suffix(".1"))
    logger.info("after")
    assert file.with_suffix(".1").read_text().endswith("before\n")
    assert file.read_text().endswith("after\n")


def test_a_log_file_that_cannot_be_written_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"LOG_FILE='.*': cannot be written: No such file") as error:
        configure(level="INFO", form="text", file=str(tmp_path / "no" / "log"))
    assert error.value.variable == "LOG_FILE"


@pytest.mark.process
def test_the_console_logs_to_the_file_and_prints_nothing_on_stderr(
    tmp_path: Path, real_server: EmbeddedServer, real_client: redis.Redis
) -> None:
    env = console_env(
        tmp_path,
        TEMP_FILE_REDIS_URL=real_server.unix_url,
        TEMP_FILE_BASE_DIR=str(tmp_path / "base"),
        LOG_FILE=str(tmp_path / "log"),
        LOG_FORMAT="json",
        LOG_LEVEL="debug",
    )
    (tmp_path / "base").mkdir(mode=0o700)
    (tmp_path / "base" / "a").touch()
    for args in (["register", str(tmp_path / "base" / "a")], ["cleanup", "--force"]):
        with console(*args, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
    messages = [json.loads(line)["message"] for line in (tmp_path / "log").read_text().splitlines()]
    path = printable(str(tmp_path / "base" / "a"))
    assert f"Registered temporary file: {path}" in messages
    assert f"Removed temporary file: {path}" in messages
    assert any(message.startswith("Cleaned up 1 temporary files") for message in messages)


@pytest.mark.process
def test_the_log_file_of_a_worker_has_its_own_level_and_its_console_has_celerys(tmp_path: Path) -> None:
    """Runs in a child process, because Celery sets up the logging of the whole process."""
    settings = f"log_file={str(tmp_path / 'log')!r}, log_format='json', log_level='DEBUG'"
    with python(
        "import logging\n"
        "from tempfleet import Settings\n"
        "from tempfleet_tasks import make_app\n"
        f"app = make_app(Settings.load({settings}))\n"
        "app.log.setup(loglevel=logging.WARNING)\n"
        "logging.getLogger('tempfleet').info('quiet')\n"
        "logging.getLogger('tempfleet').warning('loud')\n",
        stderr=subprocess.PIPE,
    ) as process:
        _, console_lines = process.communicate(timeout=30)
    assert process.returncode == 0, console_lines
    messages = [json.loads(line)["message"] for line in (tmp_path / "log").read_text().splitlines()]
    assert messages[-2:] == ["quiet", "loud"]
    assert [json.loads(line)["message"] for line in console_lines.splitlines()] == ["loud"]


@pytest.mark.process
def test_a_worker_of_the_console_logs_an_event_once(tmp_path: Path, real_server: EmbeddedServer) -> None:
    log, base = tmp_path / "log", tmp_path / "base"
    taken = socket.create_server(("127.0.0.1", 0))
    env = console_env(
        tmp_path,
        TEMP_FILE_REDIS_URL=real_server.unix_url,
        TEMP_FILE_BASE_DIR=str(base),
        TEMP_FILE_HOST="web-1",
        PROMETHEUS_PORT=str(taken.getsockname()[1]),
        LOG_FILE=str(log),
        LOG_LEVEL="DEBUG",
    )
    with closing(TempFileManager(base, host="web-1", redis_url=real_server.unix_url)) as manager:
        manager.create(ttl=0.001).close()
    events = ("Removed temporary file", "Cleaned up 1", "is taken")
    with taken, console("worker", "-P", "solo", env=env, stdout=-1, stderr=subprocess.STDOUT) as worker:
        wait_until(lambda: log.exists() and all(event in log.read_text() for event in events), timeout=60)
        worker.terminate()
        output, _ = worker.communicate(timeout=60)
    assert [log.read_text().count(event) for event in events] == [1, 1, 1]
    assert output.count("is taken") == 1, output


def failing(caplog: pytest.LogCaptureFixture, *seconds: float, recovers_at: float | None = None) -> list[str]:
    """The lines of a thing that fails at these times, and then works."""
    clock = [0.0]
    trouble = Trouble(lambda: clock[0])
    for clock[0] in seconds:
        trouble.failed("timer", ConnectionError("no answer"))
    if recovers_at is not None:
        clock[0] = recovers_at
        for _ in range(2):
            trouble.works("timer")
    return caplog.messages


def test_a_warning_that_repeats_is_logged_at_growing_intervals(caplog: pytest.LogCaptureFixture) -> None:
    lines = failing(caplog, *range(0, 4 * 3600, 15))
    assert lines[:2] == ["timer: no answer", "timer, 5 times in 1 min: no answer"]
    # After 1, 3, 7, 15, 31, 63, 123 and 183 minutes.
    assert len(lines) == 9
    assert lines[-1] == "timer, 733 times in 3 h 3 min: no answer"


def test_the_end_of_a_trouble_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    assert failing(caplog, recovers_at=1) == []
    assert failing(caplog, 0, 15, 30, recovers_at=45) == [
        "timer: no answer",
        "timer: it works again after 3 failures in 45 s",
    ]


def test_a_failure_of_another_kind_and_another_thing_are_logged_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trouble = Trouble(lambda: 0.0)
    trouble.failed("timer", ConnectionError("no answer"))
    trouble.failed("timer", ValueError("full"))
    trouble.failed("heartbeat", ValueError("full"))
    trouble.failed("timer", ValueError("full"))
    assert caplog.messages == ["timer: no answer", "timer: full", "heartbeat: full"]
