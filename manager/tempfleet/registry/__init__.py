"""
The registry: the only room that talks to Redis.

Promises: every state change is one atomic script. A path is in exactly one of registry, leases, held and dead. Only
Redis's clock counts. A claim belongs to whoever has its token, until its lease ends.

Does not: look at a disk, wait, or repeat a call whose answer was lost. It raises RegistryUnavailable instead.
"""

from .codec import tag_of
from .connection import connect
from .fleet import Fleet, Host, Memory, Sweep
from .keys import DISK, FULL, NOT_SERVED, SCHEMA, Volume
from .registry import Registry
from .stats import LEFT, Histogram, PluginNote, VolumeStats
from .store import Clock, Store, server_clock
from .values import NO_LIMITS, Claim, Limits, Nack, Registration

__all__ = [
    "DISK",
    "FULL",
    "LEFT",
    "NOT_SERVED",
    "NO_LIMITS",
    "SCHEMA",
    "Claim",
    "Clock",
    "Fleet",
    "Histogram",
    "Host",
    "Limits",
    "Memory",
    "Nack",
    "PluginNote",
    "Registration",
    "Registry",
    "Store",
    "Sweep",
    "Volume",
    "VolumeStats",
    "connect",
    "server_clock",
    "tag_of",
]
