"""
A small threaded HTTP server from the standard library, for one WSGI application.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import weakref
from socketserver import TCPServer, ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

from ..logs import logger

PORTS_TRIED = 10
SLOWEST_CLIENT_SECONDS = 10


class _Handler(WSGIRequestHandler):
    timeout = SLOWEST_CLIENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        logger.debug("%s: " + format, self.client_address[0], *args)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        """Like the base class, but without a DNS lookup of our own name, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Server6(_Server):
    address_family = socket.AF_INET6


class WebServer:
    """
    Serves *application* on *address*, in its own threads, until ``stop()``.

    Raises:
        OSError: it cannot listen on the address.
    """

    def __init__(self, application: WSGIApplication, address: str, port: int) -> None:
        kind = _Server6 if ":" in address else _Server
        self._server = kind((address, port), _Handler)
        self._server.set_app(application)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="tempfleet-web",
            daemon=True,
        )
        self._thread.start()
        _listening.add(self)

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        address = str(self._server.server_address[0])
        return f"http://[{address}]:{self.port}" if ":" in address else f"http://{address}:{self.port}"

    def stop(self) -> None:
        _listening.discard(self)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def close_in_child(self) -> None:
        """Close the socket in a forked child. Otherwise the child would keep the port after the parent has ended."""
        self._server.socket.close()


_listening: weakref.WeakSet[WebServer] = weakref.WeakSet()


def _close_all_in_child() -> None:
    for server in list(_listening):
        server.close_in_child()


os.register_at_fork(after_in_child=_close_all_in_child)


def serve(application: WSGIApplication, *, address: str, port: int) -> WebServer | None:
    """
    Serve on *port*. If the port is taken, use the next free one of ten, and log a warning. 0 is any free port.

    Returns None if no port is free, because a worker without metrics is better than no worker.
    """
    for candidate in range(port, port + PORTS_TRIED if port else 1):
        try:
            server = WebServer(application, address, candidate)
        except OverflowError:  # above 65535
            break
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                continue
            logger.warning("Cannot listen on %s:%d, so there are no metrics: %s", address, candidate, exc)
            return None
        if candidate != port:
            logger.warning("Port %d is taken; metrics are at %s/metrics", port, server.url)
        else:
            logger.info("Metrics are at %s/metrics", server.url)
        return server
    logger.warning("No metrics: ports %d to %d of %s are taken", port, port + PORTS_TRIED - 1, address)
    return None
