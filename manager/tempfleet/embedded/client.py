"""The side of those who use an embedded server: a URL in, a URL out, a share of clients.lock held."""

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
"""The shares of clients.lock that this process holds; changed only by who holds connect.lock."""


def connect_url(url: str) -> str:
    """
    *url* as redis-py wants it; for ``embedded://DIR``, DIR's server runs while this process lives.

    Calling again is cheap, and repairs: a keeper or server that was killed is replaced.

    Raises:
        EmbeddedServerError: DIR cannot be used, there is no server binary, or the server did not start.
    """
    return f"unix://{connect(directory_of(url))}?db=0" if is_embedded(url) else url


def broker_url(url: str) -> str:
    """
    *url* as kombu, Celery and Flower want it: an embedded or ``unix://`` one as ``redis+socket://``, and no login
    behind the question mark, where redis-py takes it and kombu fails over it.
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
    """Give up the share of DIR's server before this process ends; forked children keep theirs."""
    if is_embedded(url) and (share := _shares.pop(prepare(directory_of(url)), None)):
        share.close()


def connect(directory: str, *, grace_seconds: float = GRACE_SECONDS) -> str:
    """The path of the socket of *directory*'s server, which runs, answers and is kept."""
    home = prepare(directory)
    with FileLock(home / CONNECT_LOCK) as turn:
        _need(turn.acquire(timeout=START_SECONDS), home, "others have been connecting for too long")
        _take_share(home)
        return _bring_up(home, grace_seconds)


def _take_share(home: Path) -> None:
    """Hold clients.lock for life; anew where becoming a daemon closed the descriptor, or the file is gone."""
    if (share := _shares.get(home)) and share.is_in_place():
        return
    _shares[home] = share = FileLock(home / CLIENTS_LOCK)
    _need(share.acquire(shared=True, timeout=START_SECONDS), home, "the server before it does not end")


def _bring_up(home: Path, grace_seconds: float) -> str:
    deadline, launches = time.monotonic() + START_SECONDS, 0
    while not ((kept := is_locked(home / KEEPER_LOCK)) and (path := _answering(home))):
        if not kept:
            _need(launches < MAX_LAUNCHES, home, "it ended at its start")
            _launch_keeper(home, grace_seconds)
            launches += 1
        _need(time.monotonic() < deadline, home, f"it did not answer within {duration(START_SECONDS)}")
        time.sleep(POLL_SECONDS)
    return path


def _answering(home: Path) -> str:
    """The socket at which the very server answers that its keeper has started and compared; else nothing."""
    path, pid = read(home / SOCKET_NAME), read(home / PID)
    said = info(path) if path and pid else {}
    return path if said.get("process_id") == pid and said.get("loading") == "0" else ""


def _launch_keeper(home: Path, grace_seconds: float) -> None:
    """Start a keeper and wait until it has detached: no host application meets its SIGCHLD later."""
    find_server()
    # -P -S and this path: it finds the modules that this process finds, from any directory, and nothing else.
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
            raise EmbeddedServerError(f"no keeper for {home}: {exc}") from exc


def _need(condition: bool, home: Path, otherwise: str) -> None:
    if not condition:
        raise EmbeddedServerError(f"no embedded server for {home}: {otherwise}\n{log_end(home)}")


def _login(user: str, password: str) -> str:
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
