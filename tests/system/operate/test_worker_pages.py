"""The pages of a real worker, with every pool."""

from __future__ import annotations

import json
import os
import signal
import socket
import time

import psutil
import pytest

from stack import Stack, Worker, fetch
from support import wait_until


def fill(worker: Worker, count: int) -> None:
    """Create *count* files that expire at once."""
    manager = worker.manager()
    for _ in range(count):
        manager.create(ttl=0.001).close()
    manager.close()


@pytest.mark.parametrize(
    "pool", [["-P", "threads"], ["-P", "prefork", "-c", "2"], ["-P", "solo"]], ids=" ".join
)
def test_totals_are_right_under_every_pool_and_after_a_kill(stack: Stack, pool: list[str]) -> None:
    worker = stack.worker("web-1", *pool)
    fill(worker, 40)
    wait_until(lambda: worker.samples()["temp_files_cleaned_total"] == 40)
    assert worker.samples()["temp_file_age_seconds_count"] == 40
    worker.process.end(signal.SIGKILL)
    again = stack.worker("web-1", *pool)
    samples = again.samples()
    assert samples["temp_files_registered_total"] == samples["temp_files_cleaned_total"] == 40
    assert samples["temp_files_active"] == samples["temp_file_imbalance"] == 0


def test_a_message_deletes_and_counts_as_the_timer_does(stack: Stack) -> None:
    worker = stack.worker("web-1", TEMP_FILE_TIMER_INTERVAL="3600", TEMP_FILE_CLEANUP_INTERVAL="0.5")
    stack.celery("beat", "--loglevel=INFO", env=worker.env, name="beat")
    fill(worker, 5)
    wait_until(lambda: worker.samples()["temp_files_cleaned_total"] == 5, timeout=30)
    samples = worker.samples()
    assert samples["temp_file_sweep_duration_seconds_count"] >= 1
    assert samples["tempfleet_sweep_age_seconds"] < 10
    assert samples["tempfleet_hosts_live"] == 1


def test_a_probe_is_ready_only_while_the_host_is_served(stack: Stack) -> None:
    worker = stack.worker("web-1", TEMP_FILE_TIMER_INTERVAL="3600")
    assert json.loads(worker.get("/healthz")) == {
        "status": "ok",
        "checks": {"heartbeat": "ok", "timer": "ok"},
    }
    assert json.loads(worker.get("/readyz"))["checks"].keys() == {
        "base_dir",
        "redis",
        "heartbeat",
        "broker",
        "queue",
    }
    away = worker.base_dir.rename(stack.home / "away")
    status, body = fetch(worker.url + "/readyz")
    assert (status, json.loads(body)["checks"]["base_dir"]) == (503, "ENOENT")
    away.rename(worker.base_dir)
    assert fetch(worker.url + "/readyz")[0] == 200
    assert json.loads(worker.get("/health"))["status"] == "healthy"


def test_without_redis_a_worker_stays_alive_but_is_not_ready(stack: Stack) -> None:
    worker = stack.worker("web-1")
    stack.server.kill()
    _, body = wait_until(lambda: _refused(worker, "/readyz"))
    assert "gave no answer" in json.loads(body)["checks"]["redis"]
    assert fetch(worker.url + "/healthz")[0] == 200
    assert fetch(worker.url + "/health")[0] == 503
    assert worker.samples()["tempfleet_registry_up"] == 0
    assert fetch(worker.url + "/")[0] == 503


def test_a_probe_costs_well_under_ten_milliseconds(stack: Stack) -> None:
    """On average of CPU time, and at best of elapsed time, because other processes delay single probes."""
    worker = stack.worker("web-1")
    process = psutil.Process(worker.process.popen.pid)

    def cpu_seconds() -> float:
        times = process.cpu_times()
        return times.user + times.system

    for path in ("/healthz", "/readyz"):
        took, before = [], cpu_seconds()
        for _ in range(50):
            began = time.perf_counter()
            assert fetch(worker.url + path)[0] == 200
            took.append(time.perf_counter() - began)
        assert min(took) < 0.010
        assert (cpu_seconds() - before) / len(took) < 0.010


def test_a_taken_port_is_a_warning_and_the_next_one_is_used(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = stack.worker("web-1", PROMETHEUS_PORT=str(port))
    assert f"Port {port} is taken" in worker.process.output
    assert worker.samples()["tempfleet_registry_up"] == 1


def test_metrics_can_be_turned_off(stack: Stack) -> None:
    worker = stack.worker("web-1", web=False, ENABLE_TEMP_FILE_METRICS="false")
    fill(worker, 1)
    wait_until(lambda: not [name for name in os.listdir(worker.base_dir) if not name.startswith(".")])
    assert "etrics are at" not in worker.process.output


def test_a_forked_child_does_not_keep_the_port_when_the_worker_is_killed(stack: Stack) -> None:
    worker = stack.worker("web-1", "-P", "prefork", "-c", "1", "--max-tasks-per-child=1")
    port = int(worker.url.rpartition(":")[2])
    os.kill(worker.process.popen.pid, signal.SIGKILL)
    wait_until(lambda: _can_bind(port))


def _can_bind(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _refused(worker: Worker, path: str) -> tuple[int, str] | None:
    answer = fetch(worker.url + path)
    return answer if answer[0] == 503 else None
