"""Third-party code, called so that it can do no harm."""

from .plugin import hookimpl

__all__ = ["hookimpl"]
