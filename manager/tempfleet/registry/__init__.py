"""
The registry: every record of a file, and the only room that reads or writes them in Redis.

Promises: every change of a file's state is one atomic script. Only ``take_over`` needs two, because it moves a record
between two volumes; after a crash it is repeated. A registered path is in exactly one of the sets registry (it waits
for its deadline), leases, held and dead. Only the Redis clock counts. A claim belongs to the process with its token,
until its lease ends. Redis errors are raised as ours. A call on a dead connection is repeated once, except ``claim``
and calls that count.

Does not: read a disk, decide what is deleted, or wait for Redis to come back: it raises RegistryUnavailable.

    Registry        one volume: register, renew, claim, ack, nack, ... (registry.py), holds (keepers.py), totals
                    (totals.py), compressed forms (forms.py), and all reads (reader.py)
    Fleet           all volumes of one Redis, hosts and their heartbeats, sweeps
    forget          drops the records and the keys of a host that does not come back (forgetting.py, ephemeral.py)
    FleetClock      jumps of Redis's clock, and pauses
    upgrade         migrates registries of an older schema (upgrade.py)
    Store           one client and one namespace; connect(url) makes the client
    scripts/*.lua   one file per change, whose header is its contract; shared parts in scripts/lib
"""

from .clock import AGAIN_SECONDS, PAUSE_SECONDS, ClockReading, FleetClock, Jumps
from .codec import tag_of
from .connection import KEEPALIVE, connect
from .disks import Disks
from .ephemeral import forget_silent
from .fleet import Fleet
from .forgetting import Forgetting, forget, preview_forget
from .given_client import safe_client
from .keys import DISK, DISKS, FULL, NAMESAKES, NOT_SERVED, SCHEMA, UNAVAILABLE, Volume
from .pulse import Host, Memory, Pulse, Rejected, Sweep
from .registry import Registry
from .stats import LEFT, PASSES, Histogram, Pause, PluginNote, VolumeStats
from .store import Clock, Store, server_clock
from .upgrade import Upgrade, upgrade
from .values import NO_LIMITS, UNKNOWN, Claim, Cursor, Horizon, Inside, Limits, Nack, Registration

__all__ = [
    "AGAIN_SECONDS",
    "DISK",
    "DISKS",
    "FULL",
    "KEEPALIVE",
    "LEFT",
    "NAMESAKES",
    "NOT_SERVED",
    "NO_LIMITS",
    "PASSES",
    "PAUSE_SECONDS",
    "SCHEMA",
    "UNAVAILABLE",
    "UNKNOWN",
    "Claim",
    "Clock",
    "ClockReading",
    "Cursor",
    "Disks",
    "Fleet",
    "FleetClock",
    "Forgetting",
    "Histogram",
    "Horizon",
    "Host",
    "Inside",
    "Jumps",
    "Limits",
    "Memory",
    "Nack",
    "Pause",
    "PluginNote",
    "Pulse",
    "Registration",
    "Registry",
    "Rejected",
    "Store",
    "Sweep",
    "Upgrade",
    "Volume",
    "VolumeStats",
    "connect",
    "forget",
    "forget_silent",
    "preview_forget",
    "safe_client",
    "server_clock",
    "tag_of",
    "upgrade",
]
