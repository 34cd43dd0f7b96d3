"""
The console: ``tempfleet``. Parse, call one method, print.

Each command or command group has a file of its own, named after it. ``group`` has the common options and turns an error
into a message. ``console`` has what commands share. ``output`` prints tables and documents.

Promises: ``--json`` prints one document on every command. An error names the remedy, and its exit status is not 0.

Does not: contain logic of its own.
"""

from .console import Console, pass_console
from .group import main
from .output import Table

__all__ = ["Console", "Table", "main", "pass_console"]
