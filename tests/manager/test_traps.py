"""
Known traps of the original temporary file manager. Each was reproduced there, and none may return. Some others are laws
of tests/specification.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import redis

from support import assert_balanced, python, wait_until
from tempfleet import TempFileManager
from tempfleet.deletion import failpoints as faults
from tempfleet.embedded import EmbeddedServer
from tempfleet.testing import FakeClock

MakeManager = Callable[..., TempFileManager]


@pytest.fixture
def hook() -> Iterator[Callable[[Callable[[str], None]], None]]:
    yield faults.install
    faults.install(None)


def write(path: Path, content: str = "content") -> Path:
    path.write_text(content)
    return path


def test_registration_never_waits_for_a_clean_up(
    manager: TempFileManager, make_manager: MakeManager, base_dir: Path, hook: Callable[..., None]
) -> None:
    manager.register(write(base_dir / "slow"))
    deleting, may_delete = threading.Event(), threading.Event()

    def be_slow(point: str) -> None:
        deleting.set()
        assert may_delete.wait(10)

    hook(be_slow)
    cleaning = threading.Thread(target=manager.clear_all)
    cleaning.start()
    assert deleting.wait(10)
    for user in (manager, make_manager()):
        user.register_file(write(base_dir / "new"))
        assert user.is_temp_file(base_dir / "new")
        assert user.get_file_age(base_dir / "new") is not None
        assert len(user.files) == 2
    assert manager.lock.acquire(blocking=False)
    manager.lock.release()
    assert cleaning.is_alive()
    may_delete.set()
    cleaning.join(10)
    assert not cleaning.is_alive()


LATER = """
import sys, time
step = float(sys.argv[3])
real = time.time
# As if the clock of this host had been set wrong.
time.time = lambda: real() + step
from tempfleet import TempFileManager
manager = TempFileManager(sys.argv[1], 3600, redis_url=sys.argv[2], host="web-1")
manager.register_file(sys.argv[4])
print(manager.cleanup(), round(manager.get_file_age(sys.argv[4])))
manager.renew(sys.argv[4], ttl=7200)
print(len(manager.files_due_within(3700)))
"""


@pytest.mark.process
@pytest.mark.parametrize("step", [-(10**7), 10**7])
def test_a_wrong_wall_clock_does_not_change_when_a_file_expires(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path, step: int
) -> None:
    base_dir.mkdir(mode=0o700)
    path = write(base_dir / "fresh")
    process = python(LATER, base_dir, real_server.unix_url, step, path)
    assert process.communicate(timeout=30)[0].split() == ["0", "0", "0"]
    assert path.exists()


def test_a_clock_set_back_only_delays_deletion(manager: TempFileManager, clock: FakeClock) -> None:
    for _ in range(3):
        manager.create().close()
    clock.advance(-(10**6))
    assert manager.cleanup() == 0
    clock.advance(10**6 + 3600)
    assert manager.cleanup() == 3


UNPRIVILEGED = """
import os, sys, tempfile
from tempfleet import Settings, TempFileManager
from tempfleet.registry import connect

client = connect(sys.argv[2])
with TempFileManager(sys.argv[3], client=client, host="root") as manager, manager.create():
    # Connect and load the scripts now, as a user who may do that.
    manager.cleanup()
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
os.umask(0o077)
base = tempfile.mkdtemp(dir="/tmp")
try:
    settings = Settings.load(base_dir=base, host="nobody", retry_delay_seconds=0.001)
    manager = TempFileManager(settings=settings, client=client)
    deep = os.path.join(base, "sub")
    os.mkdir(deep)
    path = os.path.join(deep, "file")
    open(path, "w").close()
    manager.register(path)
    os.chmod(deep, 0)
    print(manager.clear_all(), len(manager.files), manager.get_record(path).last_error)
    os.chmod(deep, 0o700)
    print(os.path.exists(path))
    print(manager.clear_all(), len(manager.files), os.path.exists(path))
finally:
    import shutil
    shutil.rmtree(base)
"""


@pytest.mark.process
def test_a_parent_directory_that_cannot_be_searched_keeps_the_record(
    real_server: EmbeddedServer, real_client: redis.Redis, tmp_path: Path
) -> None:
    if not os.access("/tmp", os.W_OK):
        pytest.skip("needs a /tmp that every user can write to")
    process = python(UNPRIVILEGED, "-", real_server.unix_url, tmp_path / "base", stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=30)
    assert out.split("\n")[:3] == ["0 1 EACCES", "True", "1 0 False"], err


def test_the_target_of_a_file_that_became_a_symlink_stays(manager: TempFileManager, base_dir: Path) -> None:
    path, precious = write(base_dir / "file"), write(base_dir / "precious")
    manager.register(path)
    path.unlink()
    path.symlink_to(precious)
    assert manager.clear_all() == 0
    assert precious.exists()
    assert path.is_symlink()


def test_a_new_file_under_a_used_name_outside_the_base_directory_stays(
    make_manager: MakeManager, tmp_path: Path, clock: FakeClock
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    manager, path = make_manager(allowed_roots=(str(data),)), write(data / "file")
    for n in range(20):
        manager.register(path)
        path.unlink()
        write(path, f"the new one {n}")
        clock.advance(3600)
        assert manager.cleanup() == 0
        assert path.read_text() == f"the new one {n}"
        assert not manager.is_temp_file(path)


def test_a_relative_path_is_resolved_when_it_is_registered(
    manager: TempFileManager, base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path, namesake = write(base_dir / "name"), write(elsewhere / "name")
    monkeypatch.chdir(base_dir)
    manager.register_file("name")
    monkeypatch.chdir(elsewhere)
    assert not manager.is_temp_file("name")
    assert manager.is_temp_file(path)
    assert manager.clear_all() == 1
    assert (path.exists(), namesake.exists()) == (False, True)


def test_a_relative_base_directory_is_resolved_when_the_manager_is_created(
    make_manager: MakeManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    manager = make_manager(Path("base"))
    monkeypatch.chdir("/")
    with manager.create() as file:
        assert Path(file.path).parent == tmp_path.resolve() / "base"
    assert manager.cleanup() == 0


def test_a_newline_in_a_name_cannot_forge_a_log_line(
    manager: TempFileManager, base_dir: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    names = ["a\nCleaned up 99 temporary files", "b\r\x1b[2J", os.fsdecode(b"c\xff\x85"), "d\u2028e"]
    for name in names:
        path = write(base_dir / name)
        manager.register_file(path)
        manager.register_file(path.with_name(f"{name} missing"))
        (base_dir / f"{name} link").symlink_to("x")
        manager.register_file(base_dir / f"{name} link")
    (base_dir / names[0]).unlink()
    clock.advance(3600)
    assert manager.cleanup() == 3
    with pytest.raises(OSError) as error:
        manager.register(base_dir / names[0])
    for line in [*caplog.messages, str(error.value)]:
        assert line.isprintable(), ascii(line)
    assert sum(line.startswith("Cleaned up") for line in caplog.messages) == 1


INTERRUPTED = """
import os, signal, sys, threading
from tempfleet import TempFileManager
manager = TempFileManager(sys.argv[1], 3600, redis_url=sys.argv[2], host="web-1")
inside = 0
counts = []

def clear(number, frame):
    global inside
    if inside < 2:
        inside += 1
        counts.append(manager.clear_all())
        inside -= 1

signal.signal(signal.SIGALRM, clear)
created = 0
for round in range(15):
    for _ in range(40):
        manager.create().close()
        created += 1
    signal.setitimer(signal.ITIMER_REAL, 0.0002 + 0.0004 * round, 0.0013)
    counts.append(manager.clear_all())
    signal.setitimer(signal.ITIMER_REAL, 0)
counts.append(manager.clear_all())
print(created, sum(counts), manager.stats().leased, sum(not name.startswith(".") for name in os.listdir(sys.argv[1])))
"""


@pytest.mark.process
def test_a_clean_up_inside_a_signal_handler_does_not_deadlock(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path
) -> None:
    process = python(INTERRUPTED, base_dir, real_server.unix_url, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError("deadlock of the clean-up and its signal handler") from None
    assert out.split() == ["600", "600", "0", "0"], err


def test_a_soft_time_limit_is_not_swallowed(
    manager: TempFileManager, clock: FakeClock, hook: Callable[..., None]
) -> None:
    class SoftTimeLimitExceeded(Exception):
        """Like Celery's exception of this name: a signal handler raises it in the main thread."""

    for _ in range(100):
        manager.create().close()
    clock.advance(3600)
    raised, steps = threading.Event(), itertools.count()

    def limit(*_: object) -> None:
        raised.set()
        raise SoftTimeLimitExceeded

    def reach(point: str) -> None:
        if point == "direct.found" and next(steps) == 10:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert raised.wait(10)

    hook(reach)
    handler = signal.signal(signal.SIGUSR1, limit)
    try:
        with pytest.raises(SoftTimeLimitExceeded):
            manager.cleanup()
    finally:
        signal.signal(signal.SIGUSR1, handler)
    stats = manager.stats()
    assert (stats.leased, stats.retrying) == (0, 0)
    assert stats.waiting == 100 - stats.total("deleted") > 0
    assert_balanced(manager)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, TimeoutError])
def test_an_exception_of_a_signal_handler_at_any_instruction_leaves_nothing_leased(
    manager: TempFileManager, clock: FakeClock, error: type[BaseException]
) -> None:
    """Python runs signal handlers between two instructions of the main thread; a trace function raises there, too."""
    for n in itertools.count(1, 7 if error is KeyboardInterrupt else 61):
        for _ in range(3):
            manager.create(ttl=5).close()
        clock.advance(6)
        left = n

        def trace(frame: FrameType, event: str, _arg: object) -> Any:
            nonlocal left
            if not str(frame.f_globals.get("__name__")).startswith(
                ("tempfleet.cleanup", "tempfleet.threads")
            ):
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                left -= 1
                if left == 0:
                    raise error
            return trace

        tracing = sys.gettrace()
        sys.settrace(trace)
        try:
            manager.cleanup()
        except error:
            pass
        finally:
            sys.settrace(tracing)
        wait_until(lambda: manager.stats().leased == 0)  # the thread of the batch may still settle it
        stats = manager.stats()
        assert (stats.claims, stats.retrying, stats.dead) == (0, 0, 0), n
        manager.cleanup()
        if left > 0:
            assert n > 1000
            return


@pytest.mark.process
@pytest.mark.parametrize(
    "error", ["builtins:KeyboardInterrupt", "builtins:SystemExit", "celery.exceptions:WorkerShutdown"]
)
def test_a_signal_at_any_time_leaves_nothing_leased(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path, error: str
) -> None:
    process = python(SIGNALLED, base_dir, real_server.unix_url, error, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    leased, raised = map(int, out.split() or (-1, -1))
    assert leased == 0 and raised > 0, err


SIGNALLED = """
import pkgutil, signal, sys, time
from tempfleet import TempFileManager
error = pkgutil.resolve_name(sys.argv[3])
manager = TempFileManager(sys.argv[1], 3600, redis_url=sys.argv[2], host="web-1")
leased = raised = 0

def handle(number, frame):
    raise error()

signal.signal(signal.SIGALRM, handle)
for turn in range(40):
    for _ in range(5):
        manager.create(ttl=3600).close()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.0002 * turn)
        manager.clear_all()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except error:
        raised += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    end = time.monotonic() + 5
    while manager.stats().leased and time.monotonic() < end:
        time.sleep(0.001)
    leased += manager.stats().leased
print(leased, raised)
"""


def test_the_mtime_of_a_file_does_not_change_when_it_expires(
    manager: TempFileManager, base_dir: Path, clock: FakeClock
) -> None:
    path = write(base_dir / "file")
    os.utime(path, (0, 0))
    manager.register_file(path)
    assert manager.cleanup() == 0
    os.utime(path, (time.time() + 10**6,) * 2)
    clock.advance(3600)
    assert manager.cleanup() == 1
