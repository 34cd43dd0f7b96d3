"""
``tempfleet demo``: the main job on real files, with real workers, one of which is killed.

Promises: it works on a fresh machine without setup; the checks at its end read the registry and the disk; all its
processes and files are gone afterwards, however it ends.

Does not: touch the user's own Redis, files or settings.

    producer.py   an application on a host: writes files, registers its own, and the other host's by message
    stage.py      the temporary directory, Redis, hosts, workers and beat, and their removal
    play.py       the steps, in order
    checks.py     the table at the end
    show.py       the output: a live view on a terminal, plain lines elsewhere
"""

from .command import demo

__all__ = ["demo"]
