"""
The commands that run processes: ``tempfleet worker``, ``beat``, ``up`` and ``demo``, and ``celery -A proj tempfleet``.

    commands          the commands, with their options
    node              runs a worker (and decides its node name) or a beat in this process
    up                runs Redis, a worker and a beat as child processes
    child             a worker or a beat that ends with its parent
    celery_commands   our commands in Celery's command line

Promises: processes that ``up`` and ``demo`` start end with them, even if they are killed by SIGKILL.

Does not: export a name. pyproject.toml declares the commands as entry points. So ``tempfleet`` offers them, although
the library does not import Celery.
"""
