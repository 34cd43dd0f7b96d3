"""
The only package that deletes files. What it promises, what it does not, and why.

**The promise.** A file is unlinked only if it is the object that was registered, below a root that a person
allowed. Whoever else may write to the directory can make a deletion fail, or make us forget a record whose
file they took away; they cannot turn it against another file. A path is never followed: no string that came
from outside is opened in the delete path, only single names in directories held open.

**How.** ``roots`` are validated and opened once. ``syscalls.open_beneath`` finds a parent below a root
without following a symlink or crossing a mount. Then one of two ways:

- ``direct``, for names that ``create()`` made in a directory that only this user writes to. Unguessable and
  never used twice: whatever has such a name is what we put there. ``fstatat``, ``unlinkat``.
- ``guarded``, for every name that a caller chose: move the entry into the ``private`` directory on the same
  mount, compare its ``identity`` there, out of everybody's reach, then unlink it; or give it its name back,
  over nothing.

**Why not check, then unlink.** Because the name can change hands in between; holding the directory open does
not help, the last component is looked up again. Comparing after the move asks about the very entry that will
be unlinked.

**Why not device and inode.** A freed inode number goes to the next file, on ext4 at once. The kernel's file
handle has the inode's generation, and the birth time is the next best; see ``identity``.

**After a crash** a file has its own name, or is in the private directory under a digest of it. The next
claim of the record looks there; a locked ``notes`` file lets ``recovery`` do it without the record. A tree
that was half emptied is a directory again, and goes on. tests/system/attacks kills a process between every two of
these steps.

**What is not proven.**

- *Root, and other processes of this user*: they can enter the private directory and trace us. There is no
  defence, and none is claimed.
- *Without handles and birth times* (the portable way, FUSE, old NFS) the identity is weak, and so
  flagged. A file that was written to since is then kept; one whose inode number, size and times were forged
  is not told apart.
- *A birth time alone* (identity ``b``: overlayfs, NFS) cannot tell a file from one that was put in its place
  within the same tick of the kernel's clock, some milliseconds, and got its inode number.
- *Network file systems*: another machine can have a file open, or rename in a directory of ours that it
  shares; only this host's kernel is asked for write locks and file locks.
- *Hard links* made before the deletion keep their bytes, ``freed_bytes`` is 0 then. *Copies, snapshots and
  reflinks* were never ours. ``secure`` says what overwriting is worth.
- *In use* is evidence, not a promise: who opens the file between our last look and the unlink keeps an open
  file without a name, as with any unlink. Inside a directory only the first few thousand files are asked
  about, and none more than 64 levels down.
- *A registration from afar* for a host that was silent (flag ``u``) is verified by age and place alone: below
  the roots of messages, a regular file, older than the registration.
- *A stranger's file can be moved for an instant*, where it took the name between our look and our move. It
  comes back under its own name, or, where that was taken in that instant, beside it; the log says where. Its
  change time is new.

**The modules**, from the ground up: ``journal`` and ``session`` (what one call holds); ``checks`` (every reason not
to delete), ``unlink`` (the last step); the ways ``direct`` and ``guarded``; ``quarantine`` and ``restore``;
``exchange`` (a file's other form takes its name), ``recovery``, ``empty_parents``, ``footprint``; ``audit`` and
``outcome_log``; ``failpoints`` for tests; and ``deleter``, the face.

Promises: a file is unlinked only if it is the object that was registered.

Does not: talk to Redis, or decide what is due.
"""

from . import exchange, failpoints
from .audit import check_place, usual_path
from .deleter import Deleter
from .empty_parents import parents_of, remove_empty
from .exchange import Agreement, NewForm, Source
from .outcome_log import log
from .quarantine import QUARANTINE, Quarantined
from .recovery import Recovered, recover, stands_for_another
from .restore import QuarantinedFile, origin_of, quarantined_files
from .session import Session
from .skip import Skip, Unchanged
from .unlink import undo_creation

__all__ = [
    "QUARANTINE",
    "Agreement",
    "Deleter",
    "NewForm",
    "Quarantined",
    "QuarantinedFile",
    "Recovered",
    "Session",
    "Skip",
    "Source",
    "Unchanged",
    "check_place",
    "exchange",
    "failpoints",
    "log",
    "origin_of",
    "parents_of",
    "quarantined_files",
    "recover",
    "remove_empty",
    "stands_for_another",
    "undo_creation",
    "usual_path",
]
