"""
Files by descriptor, below roots that a person allowed.

    roots, root, root_rules   the directories below which files may be deleted; which directory may be one
    bounded             calls on file systems that may not answer
    inspection          a file before it is registered
    identity            which object was registered
    creation            creates files and directories in the base directory
    in_use              takes the kernel's write lock on a file, to find out whether a process uses it
    private_directory   where a file is compared with its record, and where quarantined files are
    overwrite           overwrites a file before it is unlinked
    tree_walk           a bounded walk through a directory
    paths               normalised paths, and names that nobody can guess
    stat, syscalls      what the kernel reports about a file; calls that Python does not offer (with libc)
    users, descriptors  who uses the open directories; how descriptors and locks are given back
    errnos              the outcome of an errno, and its explanation

Promises: no symlink is followed and no mount is crossed. A path string is resolved once, at registration. An identity
distinguishes a file from every other, or it is marked as weak. No caller waits for ever for a file system.

Does not: unlink a user's file, or know Redis. Only deletion/ unlinks. Two modules come near it: without renameat2, a
rename is a link and then an unlink of the old name (syscalls.py). overwrite.py destroys the content of a file that
deletion/ is about to unlink.
"""

from . import in_use, overwrite, tree_walk
from .bounded import ANSWER_SECONDS, LOOK_SECONDS, NOT_ANSWERING, Bounded, bounded_at
from .creation import create_directory, create_file, create_identified_directory, create_identified_file
from .descriptors import close, hide, unlock_and_close
from .directory_identity import directory_identity
from .elsewhere import Elsewhere
from .errnos import in_words, legend, meaning_of, name_of, outcome_of
from .identity import WEAK, Identity
from .in_use import Use
from .inspection import inspect, is_younger, kind_of
from .mounts import Mount, has_mount, other_names, read_mounts
from .paths import (
    PREFIX,
    StrPath,
    is_below,
    is_private_name,
    new_name,
    normalise,
    normalise_prefix,
    private_name,
    refuse_long,
    resolved_if_possible,
    unsafe,
)
from .private_directory import (
    ASIDE,
    BEGUN,
    CLOCK,
    FORM,
    FROM,
    NOTE,
    Entry,
    EntryState,
    PrivateDirectory,
    digest_of,
)
from .root import Root
from .root_rules import is_shared
from .roots import Roots
from .stat import Reader, Stat
from .syscalls import DIRECTORY_FLAGS, O_PATH

__all__ = [
    "ANSWER_SECONDS",
    "ASIDE",
    "BEGUN",
    "CLOCK",
    "DIRECTORY_FLAGS",
    "FORM",
    "FROM",
    "LOOK_SECONDS",
    "NOTE",
    "NOT_ANSWERING",
    "O_PATH",
    "PREFIX",
    "WEAK",
    "Bounded",
    "Elsewhere",
    "Entry",
    "EntryState",
    "Identity",
    "Mount",
    "PrivateDirectory",
    "Reader",
    "Root",
    "Roots",
    "Stat",
    "StrPath",
    "Use",
    "bounded_at",
    "close",
    "create_directory",
    "create_file",
    "create_identified_directory",
    "create_identified_file",
    "digest_of",
    "directory_identity",
    "has_mount",
    "hide",
    "in_use",
    "in_words",
    "inspect",
    "is_below",
    "is_private_name",
    "is_shared",
    "is_younger",
    "kind_of",
    "legend",
    "meaning_of",
    "name_of",
    "new_name",
    "normalise",
    "normalise_prefix",
    "other_names",
    "outcome_of",
    "overwrite",
    "private_name",
    "read_mounts",
    "refuse_long",
    "resolved_if_possible",
    "tree_walk",
    "unlock_and_close",
    "unsafe",
]
