"""
A private Redis for people who have none: ``embedded://DIR`` starts a server for DIR, which every process of
this host that names DIR shares. It goes a few seconds after the last of them, however that one ended.

The idea: the kernel keeps the books. Who uses, keeps or is the server holds a ``flock``, and the kernel takes
a lock back at death, also by SIGKILL. So nobody counts, and no process is trusted or killed by its number.

    clients.lock   shared, held by every process that uses DIR
    connect.lock   exclusive, for the moment of connecting: processes that start at once form a queue
    keeper.lock    exclusive, held by the keeper, a small process that starts, watches and stops the server
    server.lock    exclusive, inherited by the server itself: while it is held a server writes these data,
                   whoever started it, and nobody may start another

What may die, and what then happens:

    a user          the kernel takes its share back; after the last one's, the keeper stops the server
    the server      the keeper starts it again, each time later; the data is back from the append-only file
    the keeper      who connects next finds keeper.lock free and launches a keeper, which adopts the server
    both            the same, but the new keeper finds server.lock free and starts a server
    DIR, removed    the keeper sees that its lock file is gone, and ends the server

Promises: an acknowledged write survives every kill. The server ends by itself a few seconds after its last user.

Does not: listen on a TCP port, or serve other users of the host.

Rejected designs: users counted in a file (a SIGKILL leaves it wrong); the first user as the server's parent (its end
would be everybody's); process ids as proof (they come round again, and containers number their own); a TCP
port (every user of the host could connect).
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
