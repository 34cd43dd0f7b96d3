"""
The warning at the first registration if no worker has the name of this host: usually TEMP_FILE_HOST was set for the
worker and forgotten in the program.
"""

from __future__ import annotations

import time

from ..diagnostics import unknown_host
from ..errors import RegistryError
from ..logs import logger
from ..registry import Fleet
from .local_volume import LocalVolume

FRESH_SECONDS = 5.0
"""The hosts are read together with Redis's policy, before the first use. Later than this they are read again."""

_warned: set[tuple[str, str, str]] = set()
"""Redis, namespace and host of the warnings of this process."""


def warn_of_unknown_host(local: LocalVolume) -> None:
    """
    Log a warning, once a process, if the fleet has workers, but none of this host was ever heard. At most one round
    trip. Without any worker there is no warning, because a program may clean up by itself.
    """
    host = local.volume.host
    try:
        read_at, hosts = local.hosts_at_start
        if time.monotonic() - read_at > FRESH_SECONDS:
            hosts = Fleet(local.store).hosts()
    except RegistryError as exc:
        logger.debug("It is unknown whether a worker of this host runs: %s", exc)
        return
    key = (local.store.server, local.store.namespace, host)
    if hosts and key not in _warned and host not in {known.name for known in hosts}:
        _warned.add(key)
        logger.warning("%s", unknown_host(host, hosts, 0))
