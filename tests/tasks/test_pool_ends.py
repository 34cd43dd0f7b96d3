"""
What TEMP_FILE_CLEAR_ON_SHUTDOWN deletes at the end of a Celery worker whose tasks only use the library, in each pool.
The children of the default pool, prefork, end by os._exit.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
from celery import Celery

from processes import Process, files_in
from support import wait_until
from tempfleet import TempFileManager
from tempfleet.embedded import EmbeddedServer

APP = """
import os
import time
from celery import Celery
from tempfleet import TempFileManager

app = Celery("ends", broker=os.environ["BROKER"])
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1)
beside = TempFileManager()  # made before the fork


@app.task
def work(name):
    for manager, kind in ((beside, "beside"), (TempFileManager(), "local")):
        path = os.path.join(manager.base_dir, f"{name}.{kind}")
        open(path, "w").close()
        manager.register(path)
    with open(os.path.join(os.environ["PIDS"], name), "w") as file:
        file.write(str(os.getpid()))


@app.task(time_limit=1)
def hang(name):
    work(name)
    time.sleep(60)
"""


class Ends:
    """A worker of the app, and what its tasks did."""

    def __init__(self, server: EmbeddedServer, base_dir: Path, tmp_path: Path, *arguments: str) -> None:
        self.base_dir, self.pids = base_dir, tmp_path / "pids"
        self.pids.mkdir()
        (tmp_path / "ends.py").write_text(APP)
        broker = f"redis+socket://{server.socket_path}"
        self.app = Celery("ends", broker=broker, set_as_current=False)
        environment = {
            "TEMP_FILE_BASE_DIR": str(base_dir),
            "TEMP_FILE_HOST": "web-1",
            "TEMP_FILE_REDIS_URL": server.unix_url,
            "TEMP_FILE_CLEAR_ON_SHUTDOWN": "1",
            "BROKER": broker,
            "PIDS": str(self.pids),
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
        }
        command = ["-A", "ends", "worker", "-l", "INFO", "-c", "2", *arguments]
        self.process = Process("ends", tmp_path, command, environment)

    def work(self, *names: str) -> set[str]:
        """Returns the processes that did it."""
        for name in names:
            self.app.send_task("ends.work", [name])
        wait_until(lambda: all((self.pids / name).exists() for name in names))
        return set(wait_until(lambda: [t for n in names if (t := (self.pids / n).read_text())]))

    def end(self, number: signal.Signals) -> int:
        self.process.process.send_signal(number)
        return self.process.process.wait(30)


@pytest.fixture
def start(
    real_server: EmbeddedServer, real_client: redis.Redis, base_dir: Path, tmp_path: Path
) -> Iterator[Callable[..., Ends]]:
    started: list[Ends] = []
    with TempFileManager(base_dir, host="web-1", redis_url=real_server.unix_url) as other:
        (base_dir / "other").touch()
        other.register(base_dir / "other")

        def start(*arguments: str) -> Ends:
            started.append(Ends(real_server, base_dir, tmp_path, *arguments))
            return started[-1]

        yield start
        for ends in started:
            ends.process.kill()
            ends.app.close()


def names(base_dir: Path) -> list[str]:
    return [path.name for path in files_in(base_dir)]


@pytest.mark.process
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_warm_shutdown_deletes_what_the_tasks_registered(
    pool: str, start: Callable[..., Ends], base_dir: Path
) -> None:
    ends = start("--pool", pool)
    ends.work(*"abcdef")
    assert len(names(base_dir)) == 13
    assert ends.end(signal.SIGTERM) == 0
    assert names(base_dir) == ["other"], ends.process.output


@pytest.mark.process
def test_a_cold_shutdown_of_prefork_deletes_what_the_tasks_registered(
    start: Callable[..., Ends], base_dir: Path
) -> None:
    ends = start()
    ends.work(*"abcd")
    ends.end(signal.SIGQUIT)
    assert names(base_dir) == ["other"], ends.process.output


@pytest.mark.process
def test_a_recycled_child_is_not_the_end_of_its_worker(start: Callable[..., Ends], base_dir: Path) -> None:
    """Later tasks may use its files; they stay until their deadlines. The last children do end with the worker."""
    ends = start("--max-tasks-per-child", "2")
    assert len(ends.work(*"abcd")) == 2
    later = ends.work("e")
    assert later.isdisjoint({(ends.pids / name).read_text() for name in "abcd"})
    assert len(names(base_dir)) == 11
    assert ends.end(signal.SIGTERM) == 0
    assert names(base_dir) == sorted(
        ["other", *(f"{n}.{kind}" for n in "abcd" for kind in ("beside", "local"))]
    )


@pytest.mark.process
@pytest.mark.parametrize("how", ["time limit", "revoke", "smaller pool"])
def test_a_child_that_is_ended_alone_is_not_the_end_of_its_worker(
    how: str, start: Callable[..., Ends], base_dir: Path
) -> None:
    ends = start()
    pids = {int(pid) for pid in ends.work("a", "b")}
    kept = names(base_dir)
    if how == "smaller pool":
        ends.app.control.pool_shrink(1)
    else:
        task = ends.app.send_task("ends.hang", ["c"])
        pids = {int(wait_until(lambda: (ends.pids / "c").exists() and (ends.pids / "c").read_text()))}
        kept = names(base_dir)
        if how == "revoke":
            ends.app.control.revoke(task.id, terminate=True)
    wait_until(lambda: not all(psutil.pid_exists(pid) for pid in pids))
    assert names(base_dir) == kept
    assert ends.process.process.poll() is None
    ends.work("later")
    assert ends.end(signal.SIGTERM) == 0
    assert "later.local" not in names(base_dir)
