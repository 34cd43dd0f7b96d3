"""Unmodified Flower on a real worker and a real beat: its API, and its pages in a real browser."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from browser import look
from stack import Process, Stack, fetch, fetch_json, running_stack
from support import wait_until

USER = "flower:a-password-of-this-test"
SIGNED_IN = {"Authorization": f"Basic {base64.b64encode(USER.encode()).decode()}"}


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Flower that has received the events of a busy worker."""
    with running_stack(tmp_path_factory.mktemp("flower")) as stack:
        url = started_flower(stack)
        beat = busy_worker(stack)
        wait_until(
            lambda: all(tasks(url, f"tempfleet.{name}") for name in ("delete_due", "sweep", "register"))
        )
        beat.end()  # so that the first page shows all tasks
        yield url


def started_flower(stack: Stack) -> str:
    """Returns its address. It starts before the worker, because it misses the events from before its start."""
    pytest.importorskip("flower", reason="flower is not installed (pip install 'tempfleet[flower]')")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = stack.celery(
        "flower", "--address=127.0.0.1", f"--port={port}", f"--basic-auth={USER}", name="flower"
    )
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: process.popen.poll() is None and _answers(url), timeout=60)
    return url


def _answers(url: str) -> bool:
    try:
        return fetch(url + "/healthcheck")[0] == 200
    except OSError:
        return False


def tasks(flower: str, name: str) -> list[dict[str, Any]]:
    answer = fetch_json(f"{flower}/api/tasks", **SIGNED_IN)
    return [task for task in answer.values() if task["name"] == name and task["state"] == "SUCCESS"]


def busy_worker(stack: Stack) -> Process:
    """Start a worker and a beat, and register a file with a long name by message. Returns the beat."""
    worker = stack.worker("web-1", web=False, TEMP_FILE_CLEANUP_INTERVAL="0.5", TEMP_FILE_TIMER_INTERVAL="60")
    beat = stack.celery("beat", env=worker.env, name="beat")
    with worker.manager() as manager:
        manager.create(ttl=0.01).close()
        manager._registrar.in_block = None
    path = worker.base_dir / ("report-" + "x" * 150 + ".pdf")
    path.write_bytes(b"1")
    with Celery(broker=worker.env["TEMP_FILE_BROKER_URL"]) as app:
        app.send_task(
            "tempfleet.register", args=[str(path)], kwargs={"host": "web-1", "ttl": 600}, queue="tempfleet"
        )
    return beat


def test_tasks_have_names_and_short_arguments_and_workers_have_hosts(flower: str) -> None:
    (deleting, *_) = wait_until(lambda: tasks(flower, "tempfleet.delete_due"), timeout=40)
    assert deleting["worker"] == "celery@web-1"
    assert "volume" in deleting["kwargs"] and len(deleting["kwargs"]) < 120
    assert deleting["sent"] and deleting["received"] and deleting["started"]
    (sweeping, *_) = wait_until(lambda: tasks(flower, "tempfleet.sweep"), timeout=40)
    assert sweeping["sent"]
    assert wait_until(lambda: tasks(flower, "tempfleet.register"), timeout=40)
    assert list(fetch_json(f"{flower}/api/workers?refresh=1", **SIGNED_IN)) == ["celery@web-1"]


def test_its_pages_work_in_a_real_browser(flower: str, tmp_path: Path) -> None:
    wait_until(lambda: tasks(flower, "tempfleet.delete_due"), timeout=40)
    signed_in = flower.replace("http://", f"http://{USER}@")
    workers = look(f"{signed_in}/workers", profile=tmp_path / "profile", wait_ms=3000)
    assert "celery@web-1" in workers.dom
    # The page shows 15 tasks. Without the filter, sweeps push this one to the next page.
    url = f"{signed_in}/tasks?name=tempfleet.delete_due"
    listed = look(url, profile=tmp_path / "profile", wait_ms=5000)
    assert ">tempfleet.delete_due<" in listed.dom
    assert ">tempfleet.sweep<" not in listed.dom
    assert [line for line in listed.console if "Uncaught" in line] == []


def test_flower_requires_the_password(flower: str) -> None:
    assert fetch(f"{flower}/api/tasks")[0] == 401
    assert fetch(f"{flower}/workers")[0] == 401
