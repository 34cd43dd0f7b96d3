"""A TCP proxy whose far end a test moves, and which can fall silent as a firewall does."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Proxy:
    """
    Forwards bytes from ``port`` on the loopback address to the server that *dial* connects to.

    Attributes:
        dial: connects to the server; a new function serves new connections only.
        swallowing: nothing is forwarded, and no connection is closed, as if a firewall had forgotten them all.
        losing: the answers to requests that contain these bytes are lost; the server carries the requests out.
        accepted: the number of connections so far.
    """

    def __init__(self, dial: Callable[[], socket.socket]) -> None:
        self.dial = dial
        self.swallowing = False
        self.losing = b""
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._peers: dict[socket.socket, socket.socket] = {}
        self._forgotten: list[socket.socket] = []
        self._lost: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def forget(self) -> None:
        """From now on swallow what the present connections send; new connections work."""
        with self._lock:
            for end in self._peers:
                self._selector.unregister(end)
            self._forgotten += self._peers
            self._peers.clear()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        for each in (*self._peers, *self._forgotten, self._listener):
            each.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            for key, _ in self._selector.select(0.05):
                if self.swallowing:
                    # What has arrived stays unread.
                    self._closing.wait(0.05)
                    break
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif isinstance(key.fileobj, socket.socket):
                        self._forward(key.fileobj)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        self.accepted += 1
        try:
            far = self.dial()
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _forward(self, source: socket.socket) -> None:
        if source not in self._peers:
            return
        try:
            data = source.recv(1 << 16)
            if data:
                if self.losing and self.losing in data:
                    self._lost.add(self._peers[source])
                if source not in self._lost:
                    self._peers[source].sendall(data)
                return
        except OSError:
            pass
        for end in (source, self._peers[source]):
            self._peers.pop(end, None)
            self._selector.unregister(end)
            end.close()


def dialler(path: str) -> Callable[[], socket.socket]:
    """Returns a function that connects to the server at the socket *path*."""

    def dial() -> socket.socket:
        far = socket.socket(socket.AF_UNIX)
        far.connect(path)
        return far

    return dial


@contextmanager
def proxy_to(path: str) -> Iterator[Proxy]:
    """Yields a proxy to the server at the socket *path*."""
    proxy = Proxy(dialler(path))
    try:
        yield proxy
    finally:
        proxy.close()
