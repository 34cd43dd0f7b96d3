"""
Fixtures of all tests: a registry on fakeredis and on a real server, a clock that tests move, and managers in private
directories. After each test, Redis may contain only keys that the project declares.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis

from support import Packages
from tempfleet import Settings, TempFileManager, Volume
from tempfleet.embedded import EmbeddedServer
from tempfleet.plugins import plugin as plugins
from tempfleet.registry.connection import connect
from tempfleet.registry.fleet import Fleet
from tempfleet.registry.keys import FLEET_KEYS, VOLUME_KEYS
from tempfleet.registry.registry import Registry
from tempfleet.registry.store import Store
from tempfleet.settings.settings import variables
from tempfleet.testing import FakeClock


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Returns two processes for each core, because most tests wait for other processes; one each for `-n logical`."""
    cores = os.cpu_count() or 1
    return min(cores if config.option.numprocesses == "logical" else 2 * cores, 16)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Iterator[Any]:
    """Replace bytes that are not UTF-8 in output and test names, because pytest-xdist sends reports as UTF-8."""
    return _as_utf8((yield))


def _as_utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_as_utf8(key): _as_utf8(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_as_utf8, value))
    return value


@pytest.fixture(autouse=True, scope="session")
def _interrupts_are_heard() -> None:
    """Restore SIGINT. A shell ignores it for background jobs, and so would every process that the suite starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> Iterator[None]:
    """Give tests the default settings, independent of the environment and the working directory of the shell."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name in variables().values() or name.startswith("TEMP_FILE_"):
                patch.delenv(name)
        patch.setenv("TEMP_FILE_ENV_FILE", "")
        yield


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Run one private server on a unix socket for the session."""
    with EmbeddedServer.start(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def real_client(real_server: EmbeddedServer) -> Iterator[redis.Redis]:
    """Yields a client of the real server. Its database is empty before the test and has only declared keys after it."""
    client = connect(real_server.unix_url)
    client.flushall()
    yield client
    assert undeclared_keys(client) == []
    client.close()


@pytest.fixture(params=["fake", "real"])
def redis_client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """Yields a client of fakeredis, then one of a real server."""
    if request.param == "real":
        yield request.getfixturevalue("real_client")
        return
    client = fakeredis.FakeRedis()
    yield client
    assert undeclared_keys(client) == []
    client.close()


def undeclared_keys(client: redis.Redis) -> list[str]:
    """Returns the keys of ours that are not declared. Keys of Celery's broker are not checked."""
    declared = {f"tempfleet:{name}" for name in FLEET_KEYS}
    names = (key.decode("utf-8", "backslashreplace") for key in client.keys("tempfleet:*"))
    return [
        name
        for name in names
        if name not in declared
        and not (name.startswith("tempfleet:{") and name.rpartition(":")[2] in VOLUME_KEYS)
    ]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    """Yields a directory for packages with plug-ins. They are unloaded after the test."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)
    yield Packages(site)
    for name in set(sys.modules) - before:
        if name.startswith("plugin_"):
            del sys.modules[name]
    plugins._installed.cache_clear()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(redis_client: redis.Redis, clock: FakeClock) -> Store:
    return Store(redis_client, clock=clock)


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store, Volume("web-1", "/base"))


@pytest.fixture
def fleet(store: Store) -> Fleet:
    return Fleet(store, live_seconds=60)


@pytest.fixture
def base_dir(tmp_path: Path) -> Path:
    return tmp_path / "base"


MakeManager = Callable[..., TempFileManager]


@pytest.fixture
def make_manager(redis_client: redis.Redis, clock: FakeClock, base_dir: Path) -> Iterator[MakeManager]:
    """Creates managers on the test's Redis and clock: ``make_manager(max_age=5, host="web-2", batch_size=10)``."""
    managers: list[TempFileManager] = []

    def make(directory: Path | None = None, max_age: float = 3600, **settings: object) -> TempFileManager:
        values = {"host": "web-1", "audit_log": "", **settings}
        manager = TempFileManager(
            directory or base_dir,
            max_age,
            settings=Settings.load(base_dir=str(directory or base_dir), **values),
            client=redis_client,
            clock=clock,
        )
        managers.append(manager)
        return manager

    yield make
    for manager in managers:
        manager.close()


@pytest.fixture
def manager(make_manager: MakeManager) -> TempFileManager:
    return make_manager()
