"""
A private Redis for people who have none: ``embedded://DIR`` starts a server for DIR. All processes of this host that
name DIR share it.

Promises: an acknowledged write survives every kill. The server stops a few seconds after its last client ended, also
after a SIGKILL.

Does not: listen on a TCP port, or serve other users of the host.

The idea: the kernel counts the clients. Every client, the keeper and the server hold a file lock (``flock``). The
kernel releases a lock when its process dies, also by SIGKILL. So there is no counter, and no process is identified or
killed by its process id.

    clients.lock   shared, held by every process that uses DIR
    connect.lock   exclusive, held while a process connects: processes that start at the same time form a queue
    keeper.lock    exclusive, held by the keeper, a small process that starts, watches and stops the server
    server.lock    exclusive, inherited by the server: while it is held, a server writes to this data, and no
                   other server may start

What happens if one of them dies:

    a client        the kernel releases its lock; after the last one, the keeper stops the server
    the server      the keeper restarts it, with a growing delay; the append-only file has the data
    the keeper      the next client finds keeper.lock free and launches a keeper, which adopts the server
    both            the same, but the new keeper finds server.lock free and starts a server
    DIR, removed    the keeper notices that its lock file is gone, and stops the server

Rejected: a counter in a file (a SIGKILL leaves it wrong); the first client as the parent of the server (its end would
stop the server for all); process ids as proof (they are reused, and containers have their own); a TCP port (every user
of the host could connect).
"""

from .client import broker_url, connect, connect_url, disconnect_url
from .directory import KEEPER_LOCK, directory_of, is_embedded
from .locks import is_locked
from .server import EmbeddedServer, find_server

__all__ = [
    "KEEPER_LOCK",
    "EmbeddedServer",
    "broker_url",
    "connect",
    "connect_url",
    "directory_of",
    "disconnect_url",
    "find_server",
    "is_embedded",
    "is_locked",
]
