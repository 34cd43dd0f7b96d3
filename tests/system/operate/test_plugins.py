"""Plug-ins in real workers: their calls, the files that they keep, and the warnings when they fail."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from stack import Stack, Worker
from support import Packages, wait_until
from tempfleet import Settings, TempFileManager
from tempfleet_tasks import make_app

LISTENER = """
    import os
    from tempfleet.plugins import hookimpl

    def write(word, paths):
        with open(os.environ["LISTENED"], "a") as file:
            file.write("".join(f"{word} {path}\\n" for path in paths))

    @hookimpl
    def tempfleet_near_expiry(files):
        write("near", [file.path for file in files])

    @hookimpl
    def tempfleet_after_delete(deletions):
        write("gone", [deletion.path for deletion in deletions])
"""

BROKEN = """
    from tempfleet.plugins import hookimpl

    @hookimpl
    def tempfleet_before_delete(files):
        {body}
"""


@pytest.fixture
def packages(tmp_path: Path) -> Packages:
    (tmp_path / "site-packages").mkdir()
    return Packages(tmp_path / "site-packages")


def worker_with(packages: Packages, stack: Stack, **env: str) -> Worker:
    paths = [str(packages.site), *filter(None, sys.path)]
    return stack.worker(PYTHONPATH=os.pathsep.join(paths), **env)


def without_plugins(worker: Worker) -> TempFileManager:
    return TempFileManager(
        settings=Settings.load(
            plugins="off",
            base_dir=str(worker.base_dir),
            host=worker.env["TEMP_FILE_HOST"],
            redis_url=worker.env["TEMP_FILE_REDIS_URL"],
            timer_interval_seconds=60,
        )
    )


def test_a_file_near_its_deadline_is_announced_to_plug_ins_and_as_a_celery_event(
    packages: Packages, stack: Stack, tmp_path: Path
) -> None:
    packages.install("listener", LISTENER)
    lines = tmp_path / "listened"
    worker = worker_with(packages, stack, LISTENED=str(lines))
    manager = without_plugins(worker)
    app = make_app(
        Settings.load(
            redis_url=worker.env["TEMP_FILE_REDIS_URL"], broker_url=worker.env["TEMP_FILE_BROKER_URL"]
        )
    )
    events: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"tempfleet-near-expiry": events.append})
        capture = receiver.itercapture(limit=None, timeout=30, wakeup=False)
        next(capture)  # now it receives events
        with manager.create(ttl=2).file as file:
            path = str(file.name)
        for _ in capture:
            if events:
                break
    app.close()
    assert (events[0]["host"], events[0]["base_dir"], events[0]["files"]) == ("web-1", manager.base_dir, 1)
    wait_until(lambda: f"gone {path}" in lines.read_text())
    assert lines.read_text().splitlines() == [f"near {path}", f"gone {path}"]
    manager.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise OSError('no database')", "before_delete: OSError: no database"),
        ("__import__('threading').Event().wait()", "before_delete: an earlier call has not returned"),
    ],
)
def test_a_worker_whose_plug_in_fails_deletes_nothing_and_every_view_shows_it(
    packages: Packages, stack: Stack, body: str, message: str
) -> None:
    packages.install("broken", BROKEN.format(body=body))
    worker = worker_with(
        packages,
        stack,
        TEMP_FILE_RETRY_DELAY="0.1",
        TEMP_FILE_RETRY_MAX_DELAY="0.2",
        TEMP_FILE_PLUGIN_TIMEOUT="0.5",
    )
    manager = without_plugins(worker)
    with manager.create(ttl=0.001).file as file:
        path = Path(file.name)
    health = wait_until(lambda: (h := manager.health_check())["status"] == "degraded" and h, timeout=30)
    assert f"Plug-in broken is switched off ({message})" in health["warning"]
    assert path.exists()
    assert json.loads(worker.get("/health"))["status"] == "degraded"
    assert worker.samples()["temp_file_plugins_off"] == 1
    assert worker.samples()["temp_file_plugin_failures_total"] >= 3
    assert manager.stats().dead == 0
    manager.close()
