"""With these settings a process deletes expired files at its start, and the files it registered at its end."""

from __future__ import annotations

import atexit
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from support import assert_balanced, python, wait_until
from tempfleet import Settings, TempFileManager
from tempfleet.cli import main
from tempfleet.embedded import EmbeddedServer
from tempfleet.manager.shutdown import SIGNALS, End, Place
from tempfleet.registry import server_clock
from tempfleet.testing import FakeClock
from tempfleet.threads import SignalSafeCall

MakeManager = Callable[..., TempFileManager]

LIFE = """
import concurrent.futures, gc, multiprocessing, os, signal, sys, threading
from pathlib import Path
from tempfleet import Settings, TempFileManager
base, url, how = sys.argv[1:]
for name in ("SIGHUP", "SIGQUIT"):  # nohup, or a shell that starts the tests in the background, ignores them
    signal.signal(getattr(signal, name), signal.SIG_DFL)
if how == "own handler":
    signal.signal(signal.SIGTERM, lambda *_: (print("mine", flush=True), sys.exit(7)))
if how == "ignored":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
if how == "default":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
def make():
    return TempFileManager(settings=Settings.load(
        base_dir=base, redis_url=url, host="web-1", clear_on_shutdown=how != "off"))
if how == "in a thread":
    managers = []
    thread = threading.Thread(target=lambda: managers.append(make()))
    thread.start()
    thread.join()
    manager = managers[0]
else:
    manager = make()
def work():
    for n in range(40):
        path = Path(base, f"f{n}")
        path.touch()
        manager.register(path)
    manager.hold(Path(base, "f0"))
if how == "multiprocessing":
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0
elif how == "spawn":
    child = multiprocessing.get_context("spawn").Process(target=manager.register, args=(base + "/one",))
    Path(base, "one").touch()
    child.start()
    child.join()
    assert child.exitcode == 0
    work()
elif how == "pool":
    # The end of the block terminates the children by SIGTERM.
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.apply(work)
elif how == "executor":
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        executor.submit(work).result()
else:
    work()
if how == "collected":
    del manager
    gc.collect()
if how == "many":
    for n in range(40, 60):
        Path(base, f"f{n}").touch()
        make().register(Path(base, f"f{n}"))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) < 25
if how == "closed":
    manager.close()
if how == "exit in a thread":
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    print(len(os.listdir(base)) > 40, flush=True)
if how == "fork":
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
    print(len(os.listdir(base)) > 40, flush=True)
print("ready", flush=True)
sys.stdin.readline()
if how == "an error":
    raise LookupError("mine")
"""


@pytest.fixture
def beside(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path
) -> Iterator[TempFileManager]:
    """Another manager of the same directory, with a file that no other process may delete."""
    with TempFileManager(base_dir, host="web-1", redis_url=real_server.unix_url) as manager:
        (base_dir / "other").touch()
        manager.register(base_dir / "other")
        yield manager
        manager.registry.now_ms()
        assert_balanced(manager)


Life = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def life(beside: TempFileManager, real_server: EmbeddedServer, base_dir: Path) -> Iterator[Life]:
    """``life(how)`` starts a process that registers forty files and holds one of them."""
    processes: list[subprocess.Popen[str]] = []

    def start(how: str) -> subprocess.Popen[str]:
        process = python(LIFE, base_dir, real_server.unix_url, how, stderr=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        if how in ("fork", "exit in a thread"):
            assert process.stdout.readline() == "True\n"
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def names_in(base_dir: Path) -> set[str]:
    return {path.name for path in base_dir.iterdir() if not path.name.startswith(".")}


@pytest.mark.process
@pytest.mark.parametrize(
    "how",
    [
        "plain",
        "fork",
        "in a thread",
        "collected",
        "many",
        "closed",
        "multiprocessing",
        "spawn",
        "executor",
        "pool",
        "exit in a thread",
    ],
)
def test_a_process_deletes_at_exit_only_the_files_it_registered(how: str, life: Life, base_dir: Path) -> None:
    process = life(how)
    _, err = process.communicate("\n", timeout=30)
    assert (process.returncode, err) == (0, "")
    assert names_in(base_dir) == {"f0", "other"}


@pytest.mark.process
def test_the_applications_handler_decides_when_the_process_ends(life: Life, base_dir: Path) -> None:
    process = life("own handler")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (7, "mine\n", "")
    assert names_in(base_dir) == {"f0", "other"}


@pytest.mark.process
@pytest.mark.parametrize("how", ["plain", "collected"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT], ids=lambda n: n.name)
def test_a_signal_that_ends_the_process_deletes_its_files_and_still_ends_it(
    how: str, number: signal.Signals, life: Life, base_dir: Path
) -> None:
    process = life(how)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (-number, "")
    assert names_in(base_dir) == {"f0", "other"}


@pytest.mark.process
@pytest.mark.parametrize("how", ["plain", "default"])
def test_ctrl_c_deletes_the_files_whether_python_handles_it_or_not(
    how: str, life: Life, base_dir: Path
) -> None:
    process = life(how)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert ("KeyboardInterrupt" in err) == (how == "plain")
    assert names_in(base_dir) == {"f0", "other"}


@pytest.mark.process
def test_an_exception_that_ends_the_process_is_reported_as_it_is(
    life: Life, base_dir: Path, real_server: EmbeddedServer
) -> None:
    process = life("an error")
    _, err = process.communicate("\n", timeout=30)
    assert (process.returncode, err.splitlines()[-1]) == (1, "LookupError: mine")
    assert names_in(base_dir) == {"f0", "other"}


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restores the handlers of this process."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_no_handler_of_the_application_is_replaced(make_manager: MakeManager) -> None:
    def mine(*_: object) -> None: ...

    numbers = (signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        signal.signal(number, mine)
    make_manager(clear_on_shutdown=True)
    assert [signal.getsignal(number) for number in numbers] == [mine, mine]


@pytest.mark.usefixtures("handlers")
def test_an_end_never_fails_and_warns_if_the_registry_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    end, owners = End(), [FakeClock(), FakeClock()]
    for number, owner in enumerate(owners):
        base = tmp_path / str(number)
        base.mkdir(mode=0o700)
        settings = Settings.load(base_dir=str(base), redis_url=f"unix://{tmp_path}/none")
        end.watch(owner, Place(settings, None, server_clock, None)).add("/base/a", 1)
    try:
        end.delete()
    finally:
        atexit.unregister(end.delete)
    assert caplog.text.count("Not all files were deleted at the end") == 1, "it is asked once"
    assert "1 file more stayed" in caplog.text


@pytest.mark.process
def test_an_ignored_signal_stays_ignored(life: Life, base_dir: Path) -> None:
    process = life("ignored")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    process.communicate("\n", timeout=30)
    assert process.returncode == 0
    assert names_in(base_dir) == {"f0", "other"}


@pytest.mark.process
def test_files_outlive_the_process_by_default(life: Life, base_dir: Path) -> None:
    process = life("off")
    process.communicate("\n", timeout=30)
    assert len(names_in(base_dir)) == 41


@pytest.mark.process
def test_a_worker_registers_files_of_others_and_deletes_none_at_exit(
    beside: TempFileManager, real_server: EmbeddedServer, base_dir: Path
) -> None:
    code = (
        "import sys\nfrom tempfleet import Settings\nfrom tempfleet_tasks import make_app\n"
        "values = dict(base_dir=sys.argv[1], redis_url=sys.argv[2], host='web-1', clear_on_shutdown=True)\n"
        "make_app(Settings.load(**values)).tasks['tempfleet.register'](sys.argv[3], host='web-1')\n"
    )
    report = base_dir / "report"
    report.touch()
    with python(code, base_dir, real_server.unix_url, report) as process:
        assert process.wait(30) == 0
    assert beside.is_temp_file(report)
    assert report.exists()


@pytest.mark.parametrize("command", [["cleanup", "--dry-run"], ["ls"], ["health"]], ids=" ".join)
def test_starting_the_console_deletes_nothing(
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


def test_a_manager_starts_without_redis(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMP_FILE_CLEANUP_ON_START", "1")
    TempFileManager(tmp_path / "base", redis_url=f"unix://{tmp_path}/none").close()
    assert "The clean-up at the start failed" in caplog.text


def test_without_new_threads_the_work_is_done_on_the_calling_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.12 on, no thread can start while the interpreter ends."""

    def refuse(*_args: object) -> int:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    calls: list[int] = []
    call = SignalSafeCall(lambda: calls.append(1))
    call.start()
    assert calls == [1]
    assert call.wait() and call.failure is None
