"""
The clocks of this host. Redis's clock is compared with them, so that its jumps are noticed.

They never decide when a file is due. So a wrong clock of a host makes no file expire.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ..registry import Clock, server_clock

BOOT_ID = "/proc/sys/kernel/random/boot_id"

boot_seconds: Callable[[], float] = partial(
    time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
)
"""
The time since the boot. It goes on while the host or the process is suspended; nobody can set it. Systems without
CLOCK_BOOTTIME have only a clock that stops while the host is suspended.
"""


class HostClock(Protocol):
    """What ClockWatch asks of a host."""

    @property
    def boot_id(self) -> str:
        """Another text after each boot; "" if the system has none."""

    def boot_ms(self) -> float:
        """``boot_seconds`` in milliseconds."""

    def wall_ms(self) -> float:
        """The time since 1970, which may be wrong."""


class SystemClock:
    """The clocks of the system."""

    def __init__(self) -> None:
        try:
            with open(BOOT_ID, "rb") as file:
                self.boot_id = file.read().decode().strip()
        except OSError:
            self.boot_id = ""

    def boot_ms(self) -> float:
        return boot_seconds() * 1000

    def wall_ms(self) -> float:
        return time.time() * 1000


class RegistryClock:
    """The clock that a test gives to a registry, as the clock of its host. So moving it is not a jump."""

    boot_id = "registry"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def boot_ms(self) -> float:
        return float(self._clock() or 0)

    wall_ms = boot_ms


def host_clock_of(clock: Clock) -> HostClock:
    """The clock of the host for a registry with *clock*."""
    return SystemClock() if clock is server_clock else RegistryClock(clock)
