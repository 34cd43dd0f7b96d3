"""
The messages that our workers obey.

    file_message   the base of a message about files, with the checks of its arguments
    register       register, register_many, renew, unregister
    delete         delete_due and clear
    sweep          wakes the hosts that have expired files
    forwarding     how a message reaches the host that has the file

Promises: every argument is checked, because anybody who reaches the broker can send a message. A file message is
carried out by the host that has the file: other hosts forward it, or record it while that host is silent. A message
that arrives late or twice does no harm.

Does not: delete a file itself (tempfleet.cleanup does), schedule anything, or keep a lost message.
"""

from .delete import Clear, ClearRefused, delete_due
from .file_message import Answer, FileMessage
from .forwarding import route
from .register import Register, RegisterMany, Renew, Unregister
from .sweep import receive_sweep, sweep, sweep_waits

__all__ = [
    "Answer",
    "Clear",
    "ClearRefused",
    "FileMessage",
    "Register",
    "RegisterMany",
    "Renew",
    "Unregister",
    "delete_due",
    "receive_sweep",
    "route",
    "sweep",
    "sweep_waits",
]
