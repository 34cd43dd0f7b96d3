"""
What a stranger who reaches only the broker can and cannot do. docs/guarantees.md lists it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery

from stack import Stack, Worker, running_stack
from support import wait_until

SHARED, OWN = "tempfleet", "tempfleet.host.web-1"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root that messages may not name, beside the worker's base directory."""
    directory = tmp_path_factory.mktemp("stranger") / "elsewhere"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def worker(elsewhere: Path) -> Iterator[Worker]:
    """One worker for all attempts, because a refused message changes nothing."""
    with running_stack(elsewhere.parent) as stack:
        yield stack.worker("web-1", TEMP_FILE_ALLOWED_ROOTS=str(elsewhere))


@pytest.fixture
def stranger(worker: Worker) -> Iterator[Celery]:
    with Celery(broker=worker.env["TEMP_FILE_BROKER_URL"]) as app:
        app.conf.accept_content = ["json", "pickle"]
        yield app


def rejected(worker: Worker) -> float:
    return worker.samples().get("temp_file_rejected_messages_total", 0)


def refusals(worker: Worker) -> set[str]:
    return set(re.findall(r'temp_file_rejected_messages_total\{.*outcome="(\w+)"', worker.get("/metrics")))


def test_a_stranger_can_have_regular_files_in_the_message_roots_deleted(
    worker: Worker, stranger: Celery
) -> None:
    victim = worker.base_dir / "somebodys-file"
    victim.write_bytes(b"1")
    stranger.send_task(
        "tempfleet.register", args=[str(victim)], kwargs={"host": "web-1", "ttl": 0.001}, queue=SHARED
    )
    wait_until(lambda: not victim.exists())


def test_a_stranger_can_stop_a_worker_but_without_its_queue_it_still_cleans(stack: Stack) -> None:
    worker = stack.worker("web-1")
    stranger = Celery(broker=worker.env["TEMP_FILE_BROKER_URL"])
    stranger.control.cancel_consumer(OWN)
    wait_until(lambda: f"{OWN} is not read" in worker.get("/readyz"))
    with worker.manager() as manager:
        manager.create(ttl=0.001).close()
        wait_until(lambda: manager.stats().total("deleted") == 1)
    stranger.control.shutdown()
    assert worker.process.popen.wait(30) == 0
    stranger.close()


Send = Callable[[Celery, Worker, Path], None]

REFUSED: dict[str, Send] = {
    "name a file of the system": lambda app, _worker, _victim: app.send_task(
        "tempfleet.register", args=["/etc/hostname"], kwargs={"host": "web-1", "ttl": 0.001}, queue=SHARED
    ),
    "name a file in a root outside the message roots": lambda app, _worker, victim: app.send_task(
        "tempfleet.register", args=[str(victim)], kwargs={"host": "web-1", "ttl": 0.001}, queue=SHARED
    ),
    "climb out of a root by dots": lambda app, worker, victim: app.send_task(
        "tempfleet.register",
        args=[f"{worker.base_dir}/../elsewhere/{victim.name}"],
        kwargs={"host": "web-1", "ttl": 0.001},
        queue=OWN,
    ),
    "point a symlink at it": lambda app, worker, victim: (
        (worker.base_dir / "link").symlink_to(victim),
        app.send_task(
            "tempfleet.register",
            args=[str(worker.base_dir / "link")],
            kwargs={"host": "web-1", "ttl": 0.001},
            queue=OWN,
        ),
    ),
    "clear everything": lambda app, _worker, _victim: app.send_task(
        "tempfleet.clear", kwargs={"host": "web-1"}, queue=OWN
    ),
    "have the volume of another host cleaned": lambda app, _worker, _victim: app.send_task(
        "tempfleet.delete_due", kwargs={"volume": "web-2|/etc"}, queue=OWN
    ),
    "name an unknown host": lambda app, _worker, victim: app.send_task(
        "tempfleet.register", args=[str(victim)], kwargs={"host": "no-such-host"}, queue=SHARED
    ),
    "send rubbish": lambda app, _worker, _victim: app.send_task(
        "tempfleet.register", args=[{"a": 1}], kwargs={"host": ["web-1"]}, queue=OWN
    ),
}


@pytest.mark.parametrize("attempt", REFUSED)
def test_a_stranger_cannot(worker: Worker, elsewhere: Path, stranger: Celery, attempt: str) -> None:
    victim = elsewhere / "precious"
    victim.write_bytes(b"1")
    with worker.manager() as manager:
        kept = manager.create(ttl=3600)
        kept.close()
        reasons, count = refusals(worker), rejected(worker)
        REFUSED[attempt](stranger, worker, victim)
        wait_until(lambda: rejected(worker) == count + 1)
        assert refusals(worker) == reasons
        assert os.path.exists(kept.path)
        assert manager.get_record(kept.path) is not None
        manager.unregister(kept.path)
    assert victim.exists()
    assert Path("/etc/hostname").exists()


def test_a_stranger_cannot_run_code_by_a_pickle(worker: Worker, stranger: Celery, tmp_path: Path) -> None:
    flag = tmp_path / "pickled"

    class Pickled:
        def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
            return os.system, (f"touch {flag}",)

    stranger.send_task(
        "tempfleet.register", args=[Pickled()], kwargs={"host": "web-1"}, queue=OWN, serializer="pickle"
    )
    wait_until(lambda: "Refusing to deserialize untrusted content of type pickle" in worker.process.output)
    assert not flag.exists()


def test_another_user_cannot_list_the_base_directory(worker: Worker) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    listed = subprocess.run(
        [sys.executable, "-c", f"import os; os.setuid(65534); os.listdir({str(worker.base_dir)!r})"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "PermissionError" in listed.stderr
