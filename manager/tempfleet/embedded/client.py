"""The client side of an embedded server: translate URLs, start the server, and hold clients.lock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from ..errors import EmbeddedServerError
from ..formatting import duration
from .directory import (
    CLIENTS_LOCK,
    CONNECT_LOCK,
    KEEPER_LOCK,
    PID,
    SOCKET_NAME,
    directory_of,
    is_embedded,
    prepare,
    read,
)
from .keeper import GRACE_SECONDS
from .locks import POLL_SECONDS, FileLock, is_locked
from .server import START_SECONDS, find_server, info, log_end, open_log

MAX_LAUNCHES = 3

_shares: dict[Path, FileLock] = {}
"""The clients.lock files that this process holds. Changed only while it holds connect.lock."""


def connect_url(url: str) -> str:
    """
    Returns *url* in the form of redis-py. For ``embedded://DIR``, the server of DIR runs while this process lives.

    Another call is cheap, and replaces a keeper or server that was killed.

    Raises:
        EmbeddedServerError: DIR cannot be used, there is no server binary, or the server did not start.
    """
    return f"unix://{connect(directory_of(url))}?db=0" if is_embedded(url) else url


def broker_url(url: str) -> str:
    """
    Returns *url* in the form of kombu, Celery and Flower: ``redis+socket://`` for an embedded or ``unix://`` URL. A
    login in the query string is moved in front of the host, because redis-py accepts it there and kombu fails.
    """
    parts = urlsplit(connect_url(url))
    query = dict(parse_qsl(parts.query))
    if parts.scheme != "unix" and "password" not in query:
        return url
    login = _login(query.pop("username", ""), query.pop("password", ""))
    if parts.scheme != "unix":
        address = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=login + address, query=urlencode(query)).geturl()
    login = parts.netloc or login
    database = {"virtual_host": query.pop("db", "0")}
    return f"redis+socket://{login}{parts.path}?{urlencode(database | query)}"


def disconnect_url(url: str) -> None:
    """Release clients.lock of DIR before this process ends; forked children keep theirs."""
    if is_embedded(url) and (share := _shares.pop(prepare(directory_of(url)), None)):
        share.close()


def connect(directory: str, *, grace_seconds: float = GRACE_SECONDS) -> str:
    """Returns the socket path of *directory*'s server, which runs, answers and has a keeper."""
    home = prepare(directory)
    with FileLock(home / CONNECT_LOCK) as turn:
        _require(
            turn.acquire(timeout=START_SECONDS), home, "other processes have been connecting for too long"
        )
        _take_share(home)
        return _bring_up(home, grace_seconds)


def _take_share(home: Path) -> None:
    """Hold clients.lock until this process ends. Take it again if becoming a daemon closed it or the file is gone."""
    if (share := _shares.get(home)) and share.is_in_place():
        return
    _shares[home] = share = FileLock(home / CLIENTS_LOCK)
    _require(share.acquire(shared=True, timeout=START_SECONDS), home, "the previous server does not stop")


def _bring_up(home: Path, grace_seconds: float) -> str:
    deadline, launches = time.monotonic() + START_SECONDS, 0
    while not ((kept := is_locked(home / KEEPER_LOCK)) and (path := _answering(home))):
        if not kept:
            _require(launches < MAX_LAUNCHES, home, "it stopped right after its start")
            _launch_keeper(home, grace_seconds)
            launches += 1
        _require(time.monotonic() < deadline, home, f"it did not answer within {duration(START_SECONDS)}")
        time.sleep(POLL_SECONDS)
    return path


def _answering(home: Path) -> str:
    """Returns the socket path if the server that the keeper has verified answers there; "" if not."""
    path, pid = read(home / SOCKET_NAME), read(home / PID)
    status = info(path) if path and pid else {}
    return path if status.get("process_id") == pid and status.get("loading") == "0" else ""


def _launch_keeper(home: Path, grace_seconds: float) -> None:
    """Start a keeper and wait until it has detached, so that the application never gets its SIGCHLD."""
    find_server()
    # With -P, -S and this path it finds exactly the modules that this process finds, from any directory.
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    command = [sys.executable, "-P", "-S", "-m", __package__, str(home), str(grace_seconds)]
    with open_log(home) as log:
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env=env,
                check=False,
            )
        except OSError as exc:
            raise EmbeddedServerError(f"the keeper of {home} could not be started: {exc}") from exc


def _require(condition: bool, home: Path, failure: str) -> None:
    if not condition:
        raise EmbeddedServerError(
            f"the embedded server in {home} could not be used: {failure}\n{log_end(home)}"
        )


def _login(user: str, password: str) -> str:
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
