"""
The only package that deletes files. What it promises, what it does not promise, and why.

**The promise.** A file is unlinked only if it is the object that was registered, below a root that a person allowed.
Other processes that may write to the directory can make a deletion fail. They can take a file away, and we forget its
record. They cannot turn a deletion against another file. No path string that came from outside is opened in the delete
path, only single names in directories held open.

**How.** Roots are validated and opened once (``filesystem``). A parent is opened beneath its root without following a
symlink or crossing a mount. Then one of two ways deletes the file:

- ``direct``, for names that ``create()`` made in a directory that only this user writes to. Such a name is unguessable
  and never used twice, so the file under it is the file that we put there. ``fstatat``, ``unlinkat``.
- ``guarded``, for every name that a caller chose. Move the entry into the private directory on the same mount. Compare
  its identity there, out of reach of others. Then unlink it, or give it its name back, never over another file.

Each way first makes a ``plan`` (all checks, no change) and then carries it out. A dry run is a plan that is not carried
out, so it cannot drift from a real run. A plan proves nothing; the comparison after the move decides.

**Why not check, then unlink.** Another process can put another file under the name in between. Holding the directory
open does not help, because the last component is looked up again. The comparison after the move is about the very
entry that will be unlinked.

**Why not device and inode.** A freed inode number goes to the next file, on ext4 at once. The kernel's file handle
contains the inode's generation, and the birth time is the next best; see ``filesystem.Identity``.

**A directory** goes with everything in it, so it goes only if everything in it may go. The whole tree is looked at, and
the registries are asked about every path in it, before it is moved into the private directory and again after that.

**After a crash** a file has its own name, or is in the private directory under a digest of it. The next claim of the
record looks there. A locked ``journal`` lets ``recovery`` find it without the record. An entry's name shows what it is
(``whose``): moved and not proven yet, so perhaps a stranger's; begun, so ours and half destroyed; or in quarantine,
with a ``companion``. What was begun is never given back, and destroying it goes on. tests/system/attacks kills a
process between every two of these steps.

**What is not proven.**

- *Root, and other processes of this user*: they can enter the private directory and trace us. There is no defence, and
  none is claimed.
- *Without handles and birth times* (the portable way, FUSE, old NFS) the identity is weak, and flagged as weak. A file
  that was written to since registration is then kept. A file with forged inode number, size and times is not detected;
  nor is one with the same change time, size and last write (a file may get another inode number there).
  Nor is a directory that replaced a registered one and got its inode number.
- *A birth time alone* (identity ``b``: overlayfs, NFS) cannot tell a file from one that replaced it within the same
  tick of the kernel's clock, some milliseconds, and got its inode number.
- *Network file systems*: another machine can have a file open, or rename in a directory of ours that it shares. Only
  this host's kernel is asked about write locks and file locks.
- *Hard links* made before the deletion keep their bytes; ``freed_bytes`` is 0 then. *Copies, snapshots and reflinks*
  were never ours. ``filesystem.overwrite`` describes what overwriting is worth.
- *In use* is evidence, not a promise. A process that opens the file between our last check and the unlink keeps an open
  file without a name, as with any unlink. In a directory only the first few thousand entries are checked, and none more
  than 64 levels down. A process that works in a directory is found by the path of its working directory; those of other
  users only by root.
- *An unverified registration* for a host that was silent (flag ``u``) is verified by age and place alone: below the
  roots of messages, a regular file, older than the registration.
- *A stranger's file can be moved for an instant*, if it took the name between our check and our move. It gets its own
  name back, or, if that was taken in that instant, a name beside it; the log has the new name. Its change time is new.

**The modules**, from the top down:

    deleter                the face: chooses the way for each record
    direct, guarded        the two ways; plan is what both make first
    moving                 the steps of the guarded way after its checks
    in_place               the guarded way without a private directory, on a full disk
    quarantine, restore    deleted files that wait, and their way back
    exchange               a file's other form (compressed or plain) takes its name
    checks, skip           every reason not to delete, and not to exchange
    rewrite                a new file of the owner has the name: its record goes over to that one
    inside                 what in a directory has to stay
    unlink                 the last step: a file or a tree
    comparison, whose      is it the registered file? what is an entry of the private directory?
    session, journal       what one call keeps open, and what it wrote down for a recovery
    note, companion        the form of what is written beside files; that of a quarantined file
    promises               the registry, as deleting sees it
    recovery, stranded     files that dead processes left in the private directories; those that stay there
    footprint              the space that a deletion would free
    empty_parents          directories that became empty
    audit, outcome_log     one JSON line, and one log line, for each decision
    namesakes              files of registries that only have our names: another Redis, or ours before it lost its data
    emptying               empties a directory in place, also read-only directories of this user
    failpoints             points where tests stop the process

Promises: a file is unlinked only if it is the object that was registered.

Does not: talk to Redis, or decide which files have expired.
"""

from . import exchange, failpoints
from .audit import check_place, usual_path
from .deleter import Deleter
from .empty_parents import parents_of, remove_empty
from .exchange import Agreement, NewForm, Source
from .namesakes import quarantined_of_namesakes, take_from_namesakes
from .outcome_log import log
from .plan import Quarantined
from .promises import (
    CLAIMED,
    CLAIMED_BESIDE,
    HELD,
    HELD_BESIDE,
    NOBODY,
    PRIVATE,
    PROMISED,
    PROMISED_BESIDE,
    REFILLED,
    UNFINISHED,
    UNREADABLE,
    VOLUME,
    WORKING,
    Owner,
    Promises,
)
from .quarantine import QUARANTINE
from .recovery import Recovered, recover
from .restore import QuarantinedFile, bytes_in_quarantine, origin_of
from .session import Session
from .skip import Skip, Unchanged
from .stranded import Stranded, stranded
from .unlink import undo_creation

__all__ = [
    "CLAIMED",
    "CLAIMED_BESIDE",
    "HELD",
    "HELD_BESIDE",
    "NOBODY",
    "PRIVATE",
    "PROMISED",
    "PROMISED_BESIDE",
    "QUARANTINE",
    "REFILLED",
    "UNFINISHED",
    "UNREADABLE",
    "VOLUME",
    "WORKING",
    "Agreement",
    "Deleter",
    "NewForm",
    "Owner",
    "Promises",
    "Quarantined",
    "QuarantinedFile",
    "Recovered",
    "Session",
    "Skip",
    "Source",
    "Stranded",
    "Unchanged",
    "bytes_in_quarantine",
    "check_place",
    "exchange",
    "failpoints",
    "log",
    "origin_of",
    "parents_of",
    "quarantined_of_namesakes",
    "recover",
    "remove_empty",
    "stranded",
    "take_from_namesakes",
    "undo_creation",
    "usual_path",
]
