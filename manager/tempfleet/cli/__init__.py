"""
The console: ``tempfleet``. Parse, call one method, print.

Each command or command group has a file named after it. ``register`` also has renew and unregister, ``hold`` has
unhold, and ``compress`` has decompress. ``group`` has the common options and turns an error into a message. ``console``
has what commands share. ``output`` prints tables and documents; tempfleet.formatting writes sizes and durations.

Promises: ``--json`` prints one document on every command. An error names the remedy, and its exit status is not 0.

Does not: decide what is deleted. It parses, calls the library and prints.
"""

from .console import Console, pass_console
from .group import main
from .output import Table

__all__ = ["Console", "Table", "main", "pass_console"]
