"""Redis users with least rights, TLS, and secrets: on real servers, with real workers."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from celery import Celery

from stack import Process, Stack, Worker, fetch
from support import wait_until
from tempfleet import Settings, TempFileManager, Volume
from tempfleet.embedded import EmbeddedServer
from tempfleet.records import NewFile
from tempfleet.registry import forget
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.pulse import Sweep

from .redis_server import free_port, running
from .tools import DEPLOY, run, tool


class Urls:
    """Returns the files that make_users.py wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, role: str) -> str:
        return (self.folder / f"{role}-url").read_text().strip()


def make_users(folder: Path, *options: str) -> Urls:
    run(sys.executable, str(DEPLOY / "redis/make_users.py"), "--out", str(folder), *options)
    return Urls(folder)


@contextmanager
def server_with_users(directory: Path) -> Iterator[Urls]:
    """Run a server that has only our users."""
    port = free_port()
    urls = make_users(directory / "secrets", "--redis", f"127.0.0.1:{port}")
    with running(
        directory, "--port", str(port), "--aclfile", str(directory / "secrets/users.acl"), port=port
    ):
        yield urls


@pytest.fixture
def urls(tmp_path: Path) -> Iterator[Urls]:
    with server_with_users(tmp_path) as urls:
        yield urls


@pytest.fixture(scope="module")
def shared_urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Urls]:
    """For commands that are refused and so change nothing."""
    with server_with_users(tmp_path_factory.mktemp("users")) as urls:
        yield urls


@pytest.fixture
def guarded_stack(urls: Urls, tmp_path: Path) -> Iterator[Stack]:
    """Returns an environment in which processes read their URLs from files."""

    class Guarded(Stack):
        def env(self, host: str = "web-1", **more: str) -> dict[str, str]:
            files = {
                "TEMP_FILE_REDIS_URL_FILE": str(urls.folder / "registry-url"),
                "TEMP_FILE_BROKER_URL_FILE": str(urls.folder / "broker-url"),
            }
            env = super().env(host, **files, **more)
            return {
                name: value for name, value in env.items() if not name.endswith(("REDIS_URL", "BROKER_URL"))
            }

    with EmbeddedServer.start(tmp_path / "unused") as server:
        stack = Guarded(server, tmp_path)
        yield stack
        for process in reversed(stack.processes):
            process.end()


def manager_of(url: str, base_dir: Path) -> TempFileManager:
    return TempFileManager(settings=Settings.load(base_dir=str(base_dir), host="web-1", redis_url=url))


def test_everything_that_the_library_does_is_allowed(urls: Urls, tmp_path: Path) -> None:
    with manager_of(urls["registry"], tmp_path / "base") as manager:
        made = [manager.create(ttl=0.001) for _ in range(3)]
        for file in made:
            file.close()
        path = made[0].path
        manager.hold(path)
        manager.unhold(path)
        manager.renew(path)
        assert manager.get_record(path) is not None
        assert len(list(manager.records())) == len(manager.files) == 3
        manager.files_due_within(60)
        manager.unregister(path)
        wait_until(lambda: manager.stats().due == 2)
        assert manager.cleanup() == 2
        assert manager.clear_all() == 0
        fleet = Fleet(manager.store)
        fleet.heartbeat("web-1")
        fleet.hosts(), fleet.volumes(), fleet.reap([manager.volume]), fleet.memory()
        fleet.forecast([manager.volume], step_seconds=60, steps=5)
        fleet.record_sweep(Sweep("web-1", 0.1, 1, 0, 0, 0, 0))
        fleet.sweeps(), fleet.mark_waiting("x"), fleet.mark_taken("x"), fleet.retire("web-1", force=True)
        other = fleet.registry(Volume("pod-1", "/base"))
        other.register([NewFile("/base/a", 1)])
        fleet.announce(other.volume, ephemeral_seconds=3600)
        wait_until(lambda: forget(fleet, "pod-1").is_gone)
        assert manager.registry.audit() == []
        assert manager.health_check()["status"] == "healthy"


FORBIDDEN: dict[str, Callable[[redis.Redis], object]] = {
    "flush everything": lambda client: client.flushall(),
    "read the configuration": lambda client: client.config_get("*"),
    "list keys": lambda client: client.keys("*"),
    "read another's key": lambda client: client.hgetall("somebody-elses"),
    "write another's key": lambda client: client.zadd("somebody-elses", {"a": 1}),
    "watch all traffic": lambda client: client.execute_command("MONITOR"),
    "make users": lambda client: client.acl_setuser("intruder", enabled=True),
    "stop the server": lambda client: client.execute_command("SHUTDOWN"),
    "be another server's copy": lambda client: client.replicaof("127.0.0.1", "1"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
@pytest.mark.parametrize("role", ["registry", "broker", "producer"])
def test_no_user_can(shared_urls: Urls, role: str, what: str) -> None:
    client = redis.Redis.from_url(shared_urls[role])
    with pytest.raises(redis.exceptions.NoPermissionError):
        FORBIDDEN[what](client)
    client.close()


def test_a_producer_can_only_send_to_the_shared_queue(shared_urls: Urls) -> None:
    client = redis.Redis.from_url(shared_urls["producer"])
    for attempt in (
        lambda: client.brpop(["tempfleet"], timeout=1),
        lambda: client.lrange("tempfleet", 0, -1),
        lambda: client.lpush("tempfleet.host.web-1", "x"),
        lambda: client.zadd("tempfleet:hosts", {"web-9": 1}),
        lambda: client.publish("/0.celery.pidbox", "shutdown"),
    ):
        with pytest.raises(redis.exceptions.NoPermissionError):
            attempt()
    client.close()


def test_who_has_no_name_gets_nothing(shared_urls: Urls) -> None:
    address = shared_urls["registry"].rpartition("@")[2]
    client = redis.Redis.from_url(f"redis://{address}")
    with pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()
    client.close()


def test_the_files_are_their_owners_alone_and_passwords_are_new_each_time(tmp_path: Path) -> None:
    first, second = make_users(tmp_path / "a"), make_users(tmp_path / "b")
    assert first["registry"] != second["registry"]
    for file in (tmp_path / "a").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    password = first["registry"].split(":")[2].partition("@")[0]
    assert password not in (tmp_path / "a/users.acl").read_text()


def test_a_worker_beat_flower_and_a_producer_work_with_these_rights_and_no_secret_is_told(
    guarded_stack: Stack, urls: Urls
) -> None:
    worker = guarded_stack.worker(
        "web-1", "--loglevel=DEBUG", TEMP_FILE_CLEANUP_INTERVAL="0.5", TEMP_FILE_TIMER_INTERVAL="60"
    )
    beat = guarded_stack.celery("beat", "--loglevel=DEBUG", env=worker.env, name="beat")
    path = worker.base_dir / "report"
    path.write_bytes(b"1")
    with Celery(broker=urls["producer"]) as app:
        app.send_task(
            "tempfleet.register", args=[str(path)], kwargs={"host": "web-1", "ttl": 0.5}, queue="tempfleet"
        )
    wait_until(lambda: not path.exists(), timeout=30)
    wait_until(lambda: worker.samples().get("temp_file_sweep_duration_seconds_count", 0) >= 2, timeout=30)
    inspected = guarded_stack.celery("inspect", "tempfleet_stats", env=worker.env, name="inspect")
    assert inspected.popen.wait(30) == 0, inspected.output
    port = free_port()
    flower = guarded_stack.celery(
        "flower", "--address=127.0.0.1", f"--port={port}", env=worker.env, name="flower"
    )
    wait_until(lambda: 'worker="celery@web-1"' in _page_text(f"http://127.0.0.1:{port}/metrics"), timeout=30)
    _no_secret_in(worker, [beat, inspected, flower], urls)


def _page_text(url: str) -> str:
    try:
        return fetch(url)[1]
    except OSError:  # not started yet
        return ""


def _no_secret_in(worker: Worker, processes: list[Process], urls: Urls) -> None:
    passwords = [urls[role].split(":")[2].partition("@")[0] for role in ("registry", "broker", "producer")]
    texts = [process.output for process in (worker.process, *processes)]
    texts += [worker.get(path) for path in ("/", "/health", "/readyz", "/metrics")]
    texts += [repr(Settings.load(redis_url=urls["registry"], broker_url=urls["broker"]))]
    environment = Path(f"/proc/{worker.process.popen.pid}/environ").read_text()
    for password in passwords:
        assert all(password not in text for text in texts)
        assert password not in environment


def test_a_refused_password_is_in_no_message(urls: Urls, tmp_path: Path) -> None:
    address = urls["registry"].rpartition("@")[2]
    secret = "a-password-that-nobody-may-see"
    env = {**os.environ, "TEMP_FILE_REDIS_URL": f"redis://tempfleet-registry:{secret}@{address}"}
    env["TEMP_FILE_BASE_DIR"] = str(tmp_path)
    for command in ("status", "health"):
        text = run(sys.executable, "-m", "tempfleet.cli", command, env=env, check=False, timeout=30)
        assert "refused us" in text
        assert secret not in text
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "tempfleet.cli", "worker", "--loglevel", "DEBUG"]
        worker = subprocess.Popen(command, env=env, stdout=output, stderr=output)
    try:
        wait_until(lambda: "invalid username-password" in log.read_text(), timeout=30)
        assert secret not in log.read_text()
    finally:
        worker.kill()
        worker.wait()


@pytest.fixture
def tls(tmp_path: Path) -> tuple[Path, str]:
    """Run a TLS server, with a certificate authority, a server certificate and a client certificate."""
    openssl = tool("openssl", package="openssl")
    server = shutil.which("redis-server") or shutil.which("valkey-server")
    if server is None:
        pytest.skip("no redis-server with TLS on the PATH (Debian: apt install redis-server)")
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    run(
        openssl,
        "req",
        "-x509",
        *new,
        "-subj",
        "/CN=ca",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        cwd=certificates,
    )
    for name in ("server", "client"):
        run(
            openssl, "req", "-x509", *new, "-subj", f"/CN={name}", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", f"{name}.key", "-out", f"{name}.pem",
            cwd=certificates,
        )  # fmt: skip
    return certificates, server


def test_registry_and_broker_speak_tls_with_certificates_on_both_sides(
    tls: tuple[Path, str], tmp_path: Path
) -> None:
    folder, binary = tls
    port = free_port()
    options = ("--port", "0", "--tls-port", str(port), "--tls-ca-cert-file", f"{folder}/ca.pem")
    options += ("--tls-cert-file", f"{folder}/server.pem", "--tls-key-file", f"{folder}/server.key")
    query = f"?ssl_ca_certs={folder}/ca.pem&ssl_certfile={folder}/client.pem&ssl_keyfile={folder}/client.key"
    url = f"rediss://127.0.0.1:{port}/0{query}&ssl_cert_reqs=required"
    with (
        running(tmp_path, *options, port=port, binary=binary),
        EmbeddedServer.start(tmp_path / "unused") as unused,
    ):
        stack = Stack(unused, tmp_path)
        try:
            worker = stack.worker(
                "web-1",
                TEMP_FILE_REDIS_URL=url,
                TEMP_FILE_BROKER_URL=url,
                TEMP_FILE_CLEANUP_INTERVAL="0.5",
                TEMP_FILE_TIMER_INTERVAL="60",
            )
            stack.celery("beat", env=worker.env, name="beat")
            manager = worker.manager()
            manager.create(ttl=0.001).close()
            wait_until(lambda: worker.samples()["temp_files_cleaned_total"] == 1, timeout=30)
            manager.close()
            assert fetch(worker.url + "/readyz")[0] == 200
        finally:
            for process in reversed(stack.processes):
                process.end()
        with pytest.raises(redis.ConnectionError):  # without a client certificate
            redis.Redis.from_url(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={folder}/ca.pem").ping()
        with pytest.raises(redis.ConnectionError):  # with a server whose certificate nobody signed
            redis.Redis.from_url(f"rediss://127.0.0.1:{port}/0").ping()
