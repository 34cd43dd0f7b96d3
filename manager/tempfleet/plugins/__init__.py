"""Third-party code, called so that it can do no harm."""

from .specification import hookimpl

__all__ = ["hookimpl"]
