"""A real Redis or Valkey on a TCP port, with options of the test's own."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import wait_until
from tempfleet.embedded import find_server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def running(home: Path, *options: str, port: int, binary: str | None = None) -> Iterator[None]:
    """Run a server until the block ends. It listens on *port*, with TLS if *options* request it."""
    log = home / "redis.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [binary or find_server(), "--save", "", "--dir", str(home), *options],
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: _accepts(port) or server.poll() is not None, timeout=30)
        assert server.poll() is None, log.read_text()
        yield
    finally:
        server.terminate()
        server.wait(30)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
