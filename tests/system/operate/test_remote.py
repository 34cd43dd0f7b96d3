"""Celery's own command line, against real workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from stack import Stack, Worker, fetch
from support import wait_until


def celery(worker: Worker, *args: str, app: str = "tempfleet_tasks") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "celery", "-A", app, *args],
        env=worker.env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_inspect_shows_every_workers_own_volumes(stack: Stack) -> None:
    workers = [stack.worker(host, web=False) for host in ("web-1", "web-2")]
    with workers[0].manager() as manager:
        manager.create(ttl=600).close()
        answers = json.loads(celery(workers[0], "inspect", "--json", "tempfleet_stats").stdout)
        own = answers["celery@web-1"]["ok"]
        assert own[f"web-1|{workers[0].base_dir}"]["active"] == 1
        assert list(answers["celery@web-2"]["ok"]) == [f"web-2|{workers[1].base_dir}"]


def test_control_sweeps_now(stack: Stack) -> None:
    worker = stack.worker("web-1", TEMP_FILE_TIMER_INTERVAL="3600")
    with worker.manager() as manager:
        manager.create(ttl=0.001).close()
        manager._registrar.in_block = None
    assert '"due": 1' in celery(worker, "control", "tempfleet_sweep").stdout
    wait_until(lambda: worker.samples()["temp_files_cleaned_total"] == 1)


def test_the_console_is_under_celery_with_that_apps_settings(stack: Stack) -> None:
    worker = stack.worker("web-1", TEMP_FILE_TIMER_INTERVAL="3600")
    status = json.loads(celery(worker, "tempfleet", "--json", "status").stdout)
    assert (status["host"], status["base_dir"]) == ("web-1", str(worker.base_dir))
    assert "A sweep was sent" in celery(worker, "tempfleet", "sweep").stdout
    wait_until(lambda: worker.samples().get("temp_file_sweep_duration_seconds_count"))
    away = worker.base_dir.rename(stack.home / "away")
    worker.base_dir.symlink_to(away)
    refused = celery(worker, "tempfleet", "unregister", "/nowhere")
    assert refused.returncode == 1 and "is not registered" in refused.stderr


def test_one_exporter_shows_every_volume_and_ends_by_sigterm(stack: Stack) -> None:
    for host in ("web-1", "web-2"):
        worker = stack.worker(host, web=False, ENABLE_TEMP_FILE_METRICS="0")
        with worker.manager() as manager:
            manager.create(ttl=600).close()
            manager._registrar.in_block = None
    process = stack.run(
        sys.executable, "-m", "tempfleet.cli", "exporter", "--port=0", env=stack.env("desk"), name="exporter"
    )
    url = wait_until(lambda: stack.first_match(process, r"Metrics are at (\S+)/metrics"), timeout=30)
    assert 'temp_files_active{host="web-2"' in fetch(url + "/metrics")[1]
    assert fetch(url + "/readyz")[0] == 200
    os.kill(process.popen.pid, signal.SIGTERM)
    assert process.popen.wait(10) == 0
