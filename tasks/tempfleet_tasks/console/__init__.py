"""
The commands that run processes: ``tempfleet worker``, ``beat``, ``up`` and ``demo``, and ``celery -A proj tempfleet``.

Promises: processes that ``up`` and ``demo`` start end with them, even if they are killed by SIGKILL.

Does not: export a name. pyproject.toml declares the commands as entry points. So ``tempfleet`` offers them, although
the library does not import Celery.
"""
