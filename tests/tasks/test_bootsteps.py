"""What a worker does beside its tasks, on a real server. No failure there stops it from cleaning."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import wait_until
from tempfleet import RegistryUnavailable, Settings, TempFileManager
from tempfleet.embedded import EmbeddedServer
from tempfleet.reconciliation.unverified import UNVERIFIED
from tempfleet.records import Flag, NewFile
from tempfleet_tasks import make_app
from tempfleet_tasks.runtime import Runtime
from tempfleet_tasks.worker.bootsteps import HostStep, Ticker, beat, clean_host, compress_host


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer.start(tmp_path / "server", maxmemory="8mb") as server:
        yield server


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    allowed = tmp_path / "allowed"
    allowed.mkdir(mode=0o700)
    return allowed


@pytest.fixture
def runtime(server: EmbeddedServer, base_dir: Path, allowed: Path) -> Iterator[Runtime]:
    roots = (str(base_dir), str(allowed))
    app = make_app(
        Settings.load(
            host="web-1",
            base_dir=str(base_dir),
            redis_url=server.unix_url,
            allowed_roots=roots,
            message_roots=roots,
        )
    )
    runtime: Runtime = app.tempfleet()
    yield runtime
    runtime.manager.close()
    app.close()


def due_file(runtime: Runtime) -> Path:
    with runtime.manager.create(ttl=0.001).file as file:
        path = Path(file.name)
    record = runtime.manager.get_record(path)
    assert record is not None
    wait_until(lambda: runtime.manager.registry.now_ms() >= record.deadline_ms)
    return path


def register_unverified(runtime: Runtime, path: Path) -> None:
    registry = runtime.manager.registry
    registry.register([NewFile(str(path), ttl_ms=60_000, flags=Flag.UNVERIFIED.value)])
    registry.observe({UNVERIFIED: 1})


def test_a_host_stays_live_while_redis_is_full(runtime: Runtime) -> None:
    runtime.manager.store.client.config_set("maxmemory", "1")
    beat(runtime)
    assert runtime.fleet.live_hosts() == {"web-1"}


def test_an_unverified_file_does_not_stop_the_timer_from_cleaning_while_redis_is_full(
    runtime: Runtime, base_dir: Path
) -> None:
    path = due_file(runtime)
    unverified = base_dir / "unverified"
    unverified.write_text("bytes")
    register_unverified(runtime, unverified)
    runtime.manager.store.client.config_set("maxmemory", "1")
    clean_host(runtime, threading.Event())
    assert not path.exists()


def test_an_unverified_file_of_a_missing_disk_does_not_stop_the_timer_from_cleaning(
    runtime: Runtime, allowed: Path
) -> None:
    path = due_file(runtime)
    register_unverified(runtime, allowed / "unverified")
    shutil.rmtree(allowed)
    clean_host(runtime, threading.Event())
    assert not path.exists()
    assert runtime.manager.is_temp_file(allowed / "unverified")


def test_the_timer_creates_private_directories_before_the_disk_is_full(
    runtime: Runtime, allowed: Path
) -> None:
    clean_host(runtime, threading.Event())
    assert all(root.private.peek() >= 0 for root in runtime.manager.roots)


def test_the_timer_evicts_files_after_all_volumes_were_cleaned(
    server: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two volumes share a memory that is never all free. All expired files are deleted before any file is evicted."""
    if not Path("/dev/shm").is_dir():
        pytest.skip("needs /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as shared:
        allowed = Path(shared)
        settings = Settings.load(
            host="web-1",
            base_dir=str(allowed / "base"),
            redis_url=server.unix_url,
            allowed_roots=(shared,),
            evict_memory_above=1,
            evict_memory_down_to=0,
        )
        app = make_app(settings)
        runtime: Runtime = app.tempfleet()
        other = runtime.manager.local_volume.beside(str(_directory(allowed / "other")))
        for directory, registry in (
            (allowed / "base", runtime.manager.registry),
            (allowed / "other", other.registry),
        ):
            (directory / "f").write_bytes(b"x" * 5000)
            file = runtime.manager.inspect(directory / "f", ttl=3600)
            registry.register([file])
        due = due_file(runtime)
        with caplog.at_level(logging.INFO, "tempfleet"):
            clean_host(runtime, threading.Event())
        assert not due.exists()
        assert [
            runtime.local_volume(volume).registry.stats().total("evicted") for volume in runtime.own_volumes()
        ] == [1, 1]
        cleaned, first = (caplog.text.index(text) for text in ("Cleaned up 1 temp", "Evicted 1 temp"))
        assert cleaned < first
        clean_host(runtime, threading.Event())
        assert runtime.manager.evictor.backoff.intervals == 1
        runtime.manager.close()
        app.close()


def _directory(directory: Path) -> Path:
    directory.mkdir(mode=0o700)
    return directory


def test_a_pass_compresses_the_idle_files_of_every_volume_that_can_be_served(
    runtime: Runtime, server: EmbeddedServer, allowed: Path, tmp_path: Path
) -> None:
    settings = runtime.settings.model_copy(update={"compress_after_seconds": 0.001})
    worker = Runtime(runtime.app, settings)
    other = TempFileManager(allowed / "other", settings=settings)
    files = [idle_file(worker.manager), idle_file(other)]
    idle_file(TempFileManager(tmp_path / "elsewhere", settings=settings))
    compress_host(worker, threading.Event())
    assert [file.stat().st_size < 1000 for file in files] == [True, True]
    assert worker.manager.stats().total("compressed") == other.stats().total("compressed") == 1


def idle_file(manager: TempFileManager) -> Path:
    with manager.create(compress=True).file as file:
        file.write(b"a line\n" * 20_000)
        path = Path(file.name)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    record = manager.get_record(path)
    assert record is not None
    wait_until(lambda: manager.registry.now_ms() > record.registered_ms + 1)
    return path


def test_without_compression_a_worker_has_no_thread_for_it(runtime: Runtime) -> None:
    for after, names in ((0.0, 0), (60.0, 1)):
        step = HostStep(None)
        settings = runtime.settings.model_copy(update={"compress_after_seconds": after})
        step.runtime_of = lambda settings=settings: Runtime(runtime.app, settings)  # type: ignore[assignment, misc]
        step.start(None)
        assert [ticker.thread.name for ticker in step.tickers].count("tempfleet-compression") == names
        step.stop(None)


def test_a_thread_that_fails_at_every_tick_logs_it_once_and_that_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ticks: list[int] = []

    def work(_stop: threading.Event) -> None:
        ticks.append(1)
        if len(ticks) < 20:
            raise RegistryUnavailable("Redis gave no answer")

    ticker = Ticker("timer", 0.001, work)
    ticker.start()
    wait_until(lambda: len(ticks) > 25)
    ticker.stop(within_seconds=10)
    first, last = (line for line in caplog.messages if line.startswith("tempfleet-timer"))
    assert first == "tempfleet-timer: Redis gave no answer"
    assert last.startswith("tempfleet-timer: it works again after 19 failures in ")
