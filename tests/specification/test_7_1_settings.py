"""Section 7.1: each of the seventeen variables works when it is set in the environment."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from specification.material import New, registered, temporary_file
from stack import fetch
from tempfleet import QuotaExceeded, Settings, SettingsError, State
from tempfleet.cli import main
from tempfleet.deletion import failpoints as faults
from tempfleet.embedded import EmbeddedServer
from tempfleet.logs import logger
from tempfleet.monitoring.assembly import make_site
from tempfleet.monitoring.server import serve
from tempfleet.registry.fleet import Fleet
from tempfleet.settings.settings import variables
from tempfleet.testing import FakeClock
from tempfleet_tasks import make_app

Set = Callable[..., None]

VARIABLES = (
    "TEMP_FILE_BASE_DIR", "TEMP_FILE_MAX_AGE", "TEMP_FILE_CLEANUP_INTERVAL", "LOG_LEVEL", "LOG_FORMAT", "LOG_FILE",
    "MAX_TEMP_FILES", "TEMP_FILE_SIZE_LIMIT", "TEMP_FILE_CLEANUP_BATCH_SIZE", "TEMP_FILE_CLEANUP_THREADS",
    "TEMP_FILE_CLEANUP_TIMEOUT", "TEMP_FILE_SECURE_DELETE", "TEMP_FILE_PERMISSION_MASK", "TEMP_FILE_OWNER_CHECK",
    "ENABLE_TEMP_FILE_METRICS", "METRICS_BACKEND", "PROMETHEUS_PORT",
)  # fmt: skip


@pytest.fixture
def set_(monkeypatch: pytest.MonkeyPatch) -> Set:
    def set_all(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_all


def test_7_1_all_seventeen_variables_are_settings() -> None:
    assert len(VARIABLES) == 17
    assert set(VARIABLES) <= set(variables().values())


def test_7_1_the_values_of_the_specification_are_accepted(set_: Set) -> None:
    set_(TEMP_FILE_MAX_AGE="3600", TEMP_FILE_CLEANUP_INTERVAL="300", LOG_LEVEL="INFO", LOG_FORMAT="json")
    set_(MAX_TEMP_FILES="10000", TEMP_FILE_SIZE_LIMIT="104857600", TEMP_FILE_CLEANUP_BATCH_SIZE="100")
    set_(TEMP_FILE_CLEANUP_THREADS="4", TEMP_FILE_CLEANUP_TIMEOUT="30", TEMP_FILE_SECURE_DELETE="true")
    set_(TEMP_FILE_PERMISSION_MASK="0600", TEMP_FILE_OWNER_CHECK="true", ENABLE_TEMP_FILE_METRICS="true")
    set_(METRICS_BACKEND="prometheus", PROMETHEUS_PORT="9090")
    settings = Settings.load()
    assert (settings.max_age_seconds, settings.cleanup_interval_seconds) == (3600, 300)
    assert (settings.max_files, settings.size_limit_bytes, settings.batch_size) == (10_000, 104_857_600, 100)
    assert (settings.secure_delete, settings.permission_mask, settings.owner_check) == (True, 0o600, True)


def test_7_1_base_dir_is_the_directory_of_created_files(new: New, set_: Set, tmp_path: Path) -> None:
    set_(TEMP_FILE_BASE_DIR=str(tmp_path / "tmp" / "from-environment"))
    with new(None).create() as file:
        assert Path(file.path).parent == tmp_path / "tmp" / "from-environment"


def test_7_1_max_age_is_the_time_to_live_of_a_file(new: New, set_: Set, clock: FakeClock) -> None:
    set_(TEMP_FILE_MAX_AGE="42")
    manager = new()
    registered(manager, 1)
    clock.advance(41.9)
    assert manager.cleanup() == 0
    clock.advance(0.1)
    assert manager.cleanup() == 1


def test_7_1_cleanup_interval_is_the_interval_of_beats_sweeps(set_: Set, tmp_path: Path) -> None:
    set_(TEMP_FILE_CLEANUP_INTERVAL="17", TEMP_FILE_BASE_DIR=str(tmp_path / "base"))
    app = make_app()
    app.finalize()
    entry = app.conf.beat_schedule["tempfleet.sweep"]
    assert (entry["schedule"], entry["options"]["expires"]) == (17, 17)


def test_7_1_log_file_log_format_and_log_level_set_up_the_log(
    set_: Set, tmp_path: Path, real_server: EmbeddedServer, real_client: redis.Redis
) -> None:
    (tmp_path / "base").mkdir(mode=0o700)
    (tmp_path / "base" / "a").touch()
    set_(TEMP_FILE_BASE_DIR=str(tmp_path / "base"), TEMP_FILE_REDIS_URL=real_server.unix_url)

    def lines(level: str, form: str, *command: str) -> list[str]:
        file = tmp_path / f"{level}.{form}"
        set_(LOG_FILE=str(file), LOG_LEVEL=level, LOG_FORMAT=form)
        assert CliRunner().invoke(main, list(command)).exit_code == 0
        return file.read_text().splitlines()

    (line,) = lines("DEBUG", "text", "register", str(tmp_path / "base" / "a"))
    assert " - tempfleet - DEBUG - Registered temporary file: " in line
    # The deleted file itself is logged at DEBUG.
    (line,) = lines("INFO", "json", "cleanup", "--force")
    assert json.loads(line)["message"].startswith("Cleaned up 1 temporary files")
    assert lines("ERROR", "text", "cleanup") == []
    assert logger.handlers[1:] == []


def test_7_1_max_temp_files_degrades_health_or_refuses_files(new: New, set_: Set) -> None:
    set_(MAX_TEMP_FILES="2")
    manager = new()
    registered(manager, 3)
    assert manager.health_check()["warnings"] == ["Too many temp files: 3"]
    set_(TEMP_FILE_QUOTA="reject")
    with pytest.raises(QuotaExceeded, match="MAX_TEMP_FILES is 2"):
        new().register(temporary_file())


@pytest.mark.parametrize("text", ["1024", "1KB", "1024  # a kilobyte"])
def test_7_1_size_limit_refuses_a_larger_file_and_can_have_a_unit_and_a_comment(
    new: New, set_: Set, tmp_path: Path, text: str
) -> None:
    (tmp_path / "env").write_text(f"TEMP_FILE_SIZE_LIMIT={text}\n")
    set_(TEMP_FILE_ENV_FILE=str(tmp_path / "env"))
    manager = new()
    manager.register(temporary_file(content="x" * 1024))
    large = temporary_file(content="x" * 1025)
    with pytest.raises(QuotaExceeded, match="TEMP_FILE_SIZE_LIMIT is 1024"):
        manager.register(large)
    assert os.path.exists(large)


def test_7_1_cleanup_batch_size_is_the_number_of_files_per_claim(
    new: New, set_: Set, clock: FakeClock
) -> None:
    set_(TEMP_FILE_CLEANUP_BATCH_SIZE="4")
    manager = new(max_age=10)
    registered(manager, 10)
    clock.advance(10)
    sizes = []
    manager.cleanup_report(progress=lambda report: sizes.append(len(report.latest)))
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize("threads", [1, 3])
def test_7_1_cleanup_threads_is_the_number_of_deleting_threads_if_the_disk_is_slow(
    new: New, set_: Set, clock: FakeClock, threads: int
) -> None:
    set_(TEMP_FILE_CLEANUP_THREADS=str(threads), TEMP_FILE_CLEANUP_BATCH_SIZE="96")
    manager, counts, active = new(max_age=10), list[int](), set[threading.Thread]()
    registered(manager, 2 * 96)
    clock.advance(10)

    def slow_disk(point: str) -> None:
        active.add(threading.current_thread())
        time.sleep(0.0005)

    def count(_report: object) -> None:
        counts.append(len(active))
        active.clear()

    faults.install(slow_disk)
    try:
        manager.cleanup_report(progress=count)
    finally:
        faults.install(None)
    # The first batch measures how slow the disk is.
    assert counts == [1, threads]


def test_7_1_cleanup_timeout_ends_a_clean_up_and_hands_back_the_remaining_files(
    set_: Set, tmp_path: Path, real_server: EmbeddedServer, real_client: redis.Redis
) -> None:
    set_(TEMP_FILE_CLEANUP_TIMEOUT="0.000001", TEMP_FILE_REDIS_URL=real_server.unix_url)
    set_(TEMP_FILE_BASE_DIR=str(tmp_path / "base"), TEMP_FILE_HOST="web-1")
    runtime = make_app().tempfleet()
    manager = runtime.manager
    (tmp_path / "base" / "a").touch()
    manager.files[str(tmp_path / "base" / "a")] = time.time() - 7200
    report = runtime.clean(manager.volume)
    assert (report.finished, report.deleted, report.handed_back) == (False, 0, 1)
    assert manager.cleanup() == 1
    manager.close()


@pytest.mark.parametrize("secure", [False, True])
def test_7_1_secure_delete_overwrites_the_content_of_a_file(new: New, set_: Set, secure: bool) -> None:
    set_(TEMP_FILE_SECURE_DELETE=str(secure), TEMP_FILE_IN_USE="delete")
    manager = new()
    path = temporary_file(content="secret")
    manager.register_file(path)
    with open(path, "rb") as still_open:
        assert manager.clear_all() == 1
        assert (still_open.read() == b"secret") is not secure


def test_7_1_permission_mask_is_the_widest_mode_of_a_managed_file(new: New, set_: Set) -> None:
    set_(TEMP_FILE_PERMISSION_MASK="0640")
    manager = new()
    with manager.create() as file:
        assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o640
    for before, after in ((0o666, 0o640), (0o400, 0o400)):
        path = temporary_file()
        os.chmod(path, before)
        manager.register_file(path)
        assert stat.S_IMODE(os.stat(path).st_mode) == after


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("check", [True, False])
def test_7_1_owner_check_keeps_a_file_whose_owner_changed(new: New, set_: Set, check: bool) -> None:
    set_(TEMP_FILE_OWNER_CHECK=str(check))
    manager = new()
    (path,) = registered(manager, 1)
    os.chown(path, 12345, -1)
    assert manager.clear_all() == (0 if check else 1)
    assert path.exists() is check
    assert [record.last_error for record in manager.records(state=State.DEAD)] == ["owner"] * check


@pytest.mark.parametrize("enabled", [True, False])
def test_7_1_enable_metrics_decides_whether_a_worker_serves_metrics(
    set_: Set, tmp_path: Path, enabled: bool
) -> None:
    """With a real worker: tests/system/operate/test_worker_pages.py."""
    set_(ENABLE_TEMP_FILE_METRICS=str(enabled), TEMP_FILE_BASE_DIR=str(tmp_path / "base"))
    (web,) = (step for step in make_app().steps["worker"] if step.__name__ == "TempfleetWeb")
    assert web(None).include_if(None) is enabled


def test_7_1_prometheus_is_the_metrics_backend_and_another_stops_the_start(new: New, set_: Set) -> None:
    set_(METRICS_BACKEND="prometheus")
    manager = new()
    site = make_site(manager, Fleet(manager.store))
    server = serve(site, address="127.0.0.1", port=0)
    assert server is not None
    try:
        assert "# TYPE temp_files_active gauge" in fetch(server.url + "/metrics")[1]
    finally:
        server.stop()
    set_(METRICS_BACKEND="statsd")
    with pytest.raises(SettingsError, match="METRICS_BACKEND='statsd'"):
        new()


def test_7_1_prometheus_port_is_the_port_of_the_metrics(
    set_: Set, tmp_path: Path, real_server: EmbeddedServer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    set_(PROMETHEUS_PORT=str(port), TEMP_FILE_BASE_DIR=str(tmp_path / "base"))
    set_(TEMP_FILE_REDIS_URL=real_server.unix_url)
    (web,) = (step for step in make_app().steps["worker"] if step.__name__ == "TempfleetWeb")
    step = web(None)
    step.start(None)
    try:
        assert fetch(f"http://127.0.0.1:{port}/metrics")[0] == 200
    finally:
        step.stop(None)
        web.runtime_of().manager.close()
