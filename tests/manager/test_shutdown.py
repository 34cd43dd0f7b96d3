"""The first and the last thing a process does, where that was asked for: delete what is due, and what it registered."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from support import assert_balanced, python, wait_until
from tempfleet import TempFileManager
from tempfleet.cli import main
from tempfleet.embedded import EmbeddedServer
from tempfleet.testing import FakeClock
from tempfleet.threads import SignalSafeCall

LIFE = """
import os, signal, sys, threading
from pathlib import Path
from tempfleet import Settings, TempFileManager
base, url, how = sys.argv[1:]
if how == "own handler":
    signal.signal(signal.SIGTERM, lambda *_: (print("mine", flush=True), sys.exit(7)))
if how == "ignored":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
def make():
    return TempFileManager(settings=Settings.load(
        base_dir=base, redis_url=url, host="web-1", clear_on_shutdown=how != "off"))
if how == "in a thread":
    made = []
    thread = threading.Thread(target=lambda: made.append(make()))
    thread.start()
    thread.join()
    manager = made[0]
else:
    manager = make()
for n in range(40):
    path = Path(base, f"f{n}")
    path.touch()
    manager.register(path)
manager.hold(Path(base, "f0"))
if how == "fork":
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
    print(len(os.listdir(base)) > 40, flush=True)
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def beside(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path
) -> Iterator[TempFileManager]:
    """Another manager of the same directory, with a file that is nobody else's to delete."""
    with TempFileManager(base_dir, host="web-1", redis_url=real_server.unix_url) as manager:
        (base_dir / "other").touch()
        manager.register(base_dir / "other")
        yield manager
        manager.registry.now_ms()
        assert_balanced(manager)


Life = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def life(beside: TempFileManager, real_server: EmbeddedServer, base_dir: Path) -> Iterator[Life]:
    """``life(how)``: a process that has registered forty files, and holds one of them."""
    lives: list[subprocess.Popen[str]] = []

    def start(how: str) -> subprocess.Popen[str]:
        process = python(LIFE, base_dir, real_server.unix_url, how, stderr=subprocess.PIPE)
        lives.append(process)
        assert process.stdout is not None
        if how == "fork":
            assert process.stdout.readline() == "True\n"
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        return process

    yield start
    for process in lives:
        process.kill()
        process.communicate()


def left(base_dir: Path) -> set[str]:
    return {path.name for path in base_dir.iterdir() if not path.name.startswith(".")}


@pytest.mark.process
@pytest.mark.parametrize("how", ["asked", "fork", "in a thread"])
def test_what_a_process_registered_goes_at_its_exit_and_nothing_else(
    how: str, life: Life, base_dir: Path
) -> None:
    process = life(how)
    _, err = process.communicate("\n", timeout=30)
    assert (process.returncode, err) == (0, "")
    assert left(base_dir) == {"f0", "other"}


@pytest.mark.process
def test_sigterm_clears_and_then_ends_the_process_as_it_would_have(life: Life, base_dir: Path) -> None:
    process = life("asked")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (-signal.SIGTERM, "")
    assert left(base_dir) == {"f0", "other"}


@pytest.mark.process
def test_an_applications_own_handler_runs_after_the_clearing(life: Life, base_dir: Path) -> None:
    process = life("own handler")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (7, "mine\n", "")
    assert left(base_dir) == {"f0", "other"}


@pytest.mark.process
def test_a_signal_that_is_ignored_stays_so(life: Life, base_dir: Path) -> None:
    process = life("ignored")
    process.send_signal(signal.SIGTERM)
    process.communicate("\n", timeout=30)
    assert process.returncode == 0
    assert left(base_dir) == {"f0", "other"}


@pytest.mark.process
def test_unless_asked_files_live_on(life: Life, base_dir: Path) -> None:
    process = life("off")
    process.communicate("\n", timeout=30)
    assert len(left(base_dir)) == 41


@pytest.mark.process
def test_a_worker_registers_for_others_and_clears_nothing_at_its_end(
    beside: TempFileManager, real_server: EmbeddedServer, base_dir: Path
) -> None:
    code = (
        "import sys\nfrom tempfleet import Settings\nfrom tempfleet_tasks import make_app\n"
        "given = dict(base_dir=sys.argv[1], redis_url=sys.argv[2], host='web-1', clear_on_shutdown=True)\n"
        "make_app(Settings.load(**given)).tasks['tempfleet.register'](sys.argv[3], host='web-1')\n"
    )
    report = base_dir / "report"
    report.touch()
    with python(code, base_dir, real_server.unix_url, report) as process:
        assert process.wait(30) == 0
    assert beside.is_temp_file(report)
    assert report.exists()


@pytest.mark.parametrize("command", [["cleanup", "--dry-run"], ["ls"], ["health"]], ids=" ".join)
def test_the_console_deletes_nothing_for_being_started(
    command: list[str], beside: TempFileManager, real_server: EmbeddedServer, base_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    due = beside.create(ttl=0.001)
    due.close()
    wait_until(lambda: beside.stats().due == 1)
    monkeypatch.setenv("TEMP_FILE_CLEANUP_ON_START", "1")
    common = ["--base-dir", str(base_dir), "--redis-url", real_server.unix_url, "--host", "web-1"]
    assert CliRunner().invoke(main, [*common, *command]).exit_code in (0, 1)
    assert Path(due.path).exists()


def test_a_new_manager_first_deletes_what_is_due_if_asked(
    make_manager: Callable[..., TempFileManager], manager: TempFileManager, clock: FakeClock
) -> None:
    due, young = Path(manager.base_dir) / "due", Path(manager.base_dir) / "young"
    for path, ttl in ((due, 1), (young, 100)):
        path.touch()
        manager.register(path, ttl=ttl)
    clock.advance(2)
    make_manager()
    assert due.exists()
    make_manager(cleanup_on_start=True)
    assert not due.exists() and young.exists()


def test_a_start_does_not_fail_for_a_redis_that_is_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMP_FILE_CLEANUP_ON_START", "1")
    TempFileManager(tmp_path / "base", redis_url=f"unix://{tmp_path}/none").close()
    assert "The clean-up at the start failed" in caplog.text


def test_where_no_thread_can_start_any_more_the_work_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is at the end of an interpreter, from Python 3.12 on."""

    def none_left(*_args: object) -> int:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr("_thread.start_new_thread", none_left)
    done: list[int] = []
    hand = SignalSafeCall(lambda: done.append(1))
    hand.start()
    assert done == [1]
    assert hand.wait() and hand.failure is None
