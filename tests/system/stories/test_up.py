"""``tempfleet up`` as a user runs it: one process starts and ends, and files are deleted meanwhile."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from celery import Celery

from support import console, console_env, is_gone, wait_until
from tempfleet.embedded import EmbeddedServer


class UpAndRunning:
    """``tempfleet up`` with a state directory, a base directory and a host of its own."""

    def __init__(self, directory: Path, *args: str, **env: str) -> None:
        self.base_dir = directory / "base"
        self.base_dir.mkdir(mode=0o700)
        self.log = directory / "up.log"
        self.env = console_env(
            directory,
            XDG_STATE_HOME=str(directory / "state"),
            TEMP_FILE_HOST="web-1",
            TEMP_FILE_BASE_DIR=str(self.base_dir),
            TEMP_FILE_CLEANUP_INTERVAL="0.5",
            TEMP_FILE_HEARTBEAT="1",
            **env,
        )
        self.redis = {"TEMP_FILE_REDIS_URL": f"embedded://{directory / 'state' / 'tempfleet' / 'redis'}"}
        self.out = directory / "up.out"
        with self.log.open("wb") as log, self.out.open("wb") as out:
            self.process = console(*args, "up", env=self.env, stdout=out, stderr=log)
        self.psutil = psutil.Process(self.process.pid)

    def printed(self, text: str) -> bool:
        assert self.process.poll() is None or text in self.all(), self.all()
        return text in self.all()

    def all(self) -> str:
        return self.out.read_text() + self.log.read_text()

    def children(self) -> dict[str, psutil.Process]:
        """Returns the worker and the beat, by their kind."""
        children = {}
        for child in self.psutil.children():
            line = child.cmdline()
            if "tempfleet_tasks.console.child" in line:
                children[line[line.index("tempfleet_tasks.console.child") + 1]] = child
        return children

    def run(self, *args: str) -> str:
        process = console(*args, env=self.env | self.redis, stdout=subprocess.PIPE)
        out, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        return out

    def __enter__(self) -> UpAndRunning:
        return self

    def __exit__(self, *_: object) -> None:
        children = self.psutil.children() if self.process.poll() is None else []
        for process in (self.process, *children):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self.process.wait(10)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[UpAndRunning]:
    """One that a test ends."""
    with UpAndRunning(tmp_path) as running:
        wait_until(lambda: running.printed("Tempfleet is up on host web-1"), 40)
        yield running


@pytest.fixture(scope="module")
def shared_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpAndRunning]:
    """One that stays up; its host is named on the command line."""
    with UpAndRunning(tmp_path_factory.mktemp("up"), "--host", "web-7") as running:
        wait_until(lambda: running.printed("tempfleet register FILE"), 40)
        yield running


def test_a_file_registered_from_another_terminal_is_deleted_and_ctrl_c_ends_everything(
    up: UpAndRunning,
) -> None:
    path = up.base_dir / "report.pdf"
    path.write_text("done soon")
    up.run("register", str(path), "--ttl", "0.2")
    wait_until(lambda: not path.exists())
    children = up.children()
    assert set(children) == {"worker", "beat"}
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(30) == 0
    assert all(map(is_gone, children.values()))
    assert "stopped" in up.all()


def test_the_output_contains_all_that_a_foreign_app_needs(shared_up: UpAndRunning) -> None:
    broker = wait_until(lambda: re.search(r"  broker     (\S+)", shared_up.all()))[1]
    folder = wait_until(lambda: re.findall(r"  files in   (\S+)", shared_up.all()))[-1]
    path = Path(folder, "invoice.txt")
    path.write_text("paid")
    theirs = Celery("theirs", broker=broker, set_as_current=False)
    theirs.send_task(
        "tempfleet.register", args=[str(path)], kwargs={"host": "web-7", "ttl": 0.2}, queue="tempfleet"
    )
    wait_until(lambda: not path.exists())
    theirs.close()


def test_a_child_that_dies_is_restarted_and_the_output_says_so(shared_up: UpAndRunning) -> None:
    before = shared_up.children()["beat"]
    before.kill()
    wait_until(lambda: shared_up.printed("beat was killed by SIGKILL; restarting it in 1 s"))
    after = wait_until(lambda: shared_up.children().get("beat"))
    assert after.pid != before.pid


def test_a_killed_up_leaves_no_child_behind(up: UpAndRunning) -> None:
    children = up.psutil.children(recursive=True)
    assert len(children) >= 2
    up.process.kill()
    up.process.wait(10)
    wait_until(lambda: all(map(is_gone, children)), 30)


def test_as_json_it_prints_one_document_for_programs(tmp_path: Path) -> None:
    with UpAndRunning(tmp_path, "--json") as running:
        document = json.loads(wait_until(running.out.read_text, 40))
        assert document["host"] == "web-1"
        assert document["queue"] == "tempfleet"
        assert document["redis_url"] == running.redis["TEMP_FILE_REDIS_URL"]
        assert document["message_roots"] == [str(running.base_dir)]


def test_a_redis_that_does_not_answer_stops_it_at_the_start(tmp_path: Path) -> None:
    env = console_env(
        tmp_path, TEMP_FILE_REDIS_URL="redis://127.0.0.1:1", TEMP_FILE_BASE_DIR=str(tmp_path / "b")
    )
    process = console("up", env=env, stderr=subprocess.PIPE)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "127.0.0.1:1 gave no answer" in errors
    assert "Traceback" not in errors


def test_the_exports_that_up_prints_lead_another_terminal_to_the_volume(
    shared_up: UpAndRunning, tmp_path: Path
) -> None:
    exports = dict(re.findall(r"  export (TEMP_FILE_\w+)=(\S+)", shared_up.all()))
    assert set(exports) == {"TEMP_FILE_BASE_DIR", "TEMP_FILE_HOST", "TEMP_FILE_REDIS_URL"}
    with console("status", "--json", env=console_env(tmp_path, **exports), stdout=subprocess.PIPE) as other:
        out, _ = other.communicate(timeout=30)
    status = json.loads(out)
    assert (status["host"], status["base_dir"]) == ("web-7", str(shared_up.base_dir))


def test_a_file_that_names_the_redis_is_used_and_named_to_another_terminal(
    tmp_path: Path, real_server: EmbeddedServer, real_client: redis.Redis
) -> None:
    (tmp_path / "url").write_text(real_server.unix_url)
    with UpAndRunning(tmp_path, TEMP_FILE_REDIS_URL_FILE=str(tmp_path / "url")) as running:
        wait_until(lambda: running.printed("tempfleet register FILE"), 40)
        assert f"export TEMP_FILE_REDIS_URL_FILE={tmp_path / 'url'}" in running.all()
        assert "private Redis" not in running.all()


WRONG = {
    "an unknown policy": ("TEMP_FILE_EVICTION_POLICY", "foo", "must be one of"),
    "an audit log in a missing directory": (
        "TEMP_FILE_AUDIT_LOG",
        "/no/such/log",
        "its directory does not exist",
    ),
    "a directory that may not be a root": ("TEMP_FILE_ALLOWED_ROOTS", "/", "is the root directory"),
}


@pytest.mark.parametrize(("name", "value", "why"), WRONG.values(), ids=WRONG)
def test_a_worker_with_a_wrong_setting_prints_one_sentence(
    tmp_path: Path, name: str, value: str, why: str
) -> None:
    env = console_env(
        tmp_path,
        TEMP_FILE_BASE_DIR=str(tmp_path / "base"),
        TEMP_FILE_REDIS_URL=f"embedded://{tmp_path / 'redis'}",
        **{name: value},
    )
    ours = console("worker", env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, errors = ours.communicate(timeout=60)
    assert (ours.returncode, len(errors.splitlines())) == (2, 1)
    assert name in errors and why in errors

    celery = [sys.executable, "-m", "celery", "-q", "-A", "tempfleet_tasks", "worker"]
    theirs = subprocess.run(celery, env=env, capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in theirs.stderr.splitlines() if name in line]
    assert (theirs.returncode, len(lines)) == (2, 1), theirs.stderr
    assert why in lines[0]
    assert "Traceback" not in theirs.stderr + theirs.stdout


def started(tmp_path: Path, command: str) -> tuple[subprocess.Popen[str], Path]:
    """Starts a worker or a beat whose Redis is not there; returns it and the file with its output."""
    env = console_env(
        tmp_path,
        TEMP_FILE_BASE_DIR=str(tmp_path / "base"),
        TEMP_FILE_REDIS_URL=f"unix://{tmp_path / 'nobody'}",
        TEMP_FILE_BROKER_URL=f"redis+socket://{tmp_path / 'nobody'}",
        PROMETHEUS_PORT="0",
    )
    log = tmp_path / "log"
    with log.open("wb") as output:
        return console(command, env=env, stdout=output, stderr=output), log


def test_a_worker_prints_a_warning_once(tmp_path: Path) -> None:
    process, log = started(tmp_path, "worker")
    try:
        wait_until(lambda: "tempfleet-heartbeat: Redis at" in log.read_text())
    finally:
        process.kill()
        process.wait()
    lines = [line.partition("] ")[2] for line in log.read_text().splitlines() if "Redis at" in line]
    assert not [line for line in lines if line.startswith("tempfleet: warning")], lines
    assert len([line for line in lines if line.startswith("tempfleet-heartbeat: Redis at")]) == 1


def test_a_beat_without_redis_warns_at_once(tmp_path: Path) -> None:
    process, log = started(tmp_path, "beat")
    try:
        wait_until(lambda: "Until then no sweep is sent" in log.read_text())
    finally:
        process.kill()
        process.wait()
    assert log.read_text().count("gave no answer") == 1
