"""
The console: ``tempfleet``. Thin: parse, call one method, print.

    group.py      the command group: options, plug-ins, and what an error becomes
    console.py    what commands share: settings, manager, and the two ways to answer (people, JSON)
    formats.py    durations, sizes and instants, in and out
    files.py      ls, register, renew, release, hold, lift
    cleaning.py   cleanup, explain, restore, dead
    eviction.py   evict
    fleet.py      status, hosts, health, version
    exporter.py   exporter
    config.py     config
    doctor.py     doctor
"""

from .console import Console, pass_console
from .group import main

__all__ = ["Console", "main", "pass_console"]
