"""The only package that deletes files: roots, identity, the private directory, and the two ways."""

from .aside import Aside, SetAside
from .creation import create_directory, create_file, unmake
from .deleter import Deleter
from .inspection import inspect
from .names import new_name, normalise
from .roots import Root, Roots

__all__ = [
    "Aside",
    "Deleter",
    "Root",
    "Roots",
    "SetAside",
    "create_directory",
    "create_file",
    "inspect",
    "new_name",
    "normalise",
    "unmake",
]
