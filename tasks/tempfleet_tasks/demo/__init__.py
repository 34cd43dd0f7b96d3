"""
``tempfleet demo``: the main job on real files, with real workers, and one of them killed.

    producer.py   an application on a host: makes files, registers its own, and the other host's by message
    stage.py      the temporary directory, Redis, hosts, workers, beat; everything gone at the end
    play.py       what happens, in order
    verdict.py    the table, row by row right or wrong
    show.py       how it is shown: live on a terminal, line by line elsewhere
"""

from .command import demo

__all__ = ["demo"]
