"""Who uses the open directories of a volume, so that ``close`` closes them when the last user has left."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import ManagerClosed


class Shared(ABC):
    """
    Descriptors that several threads use. A number that is closed while another thread uses it could belong to any other
    directory by that thread's next system call.

    There is no lock here, because a signal handler may close. Each change is one atomic step of the interpreter.

    Attributes:
        is_closed: whether ``close`` was called.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._users: dict[object, int] = {}
        self._at_close: list[Callable[[], object]] = []

    @property
    @abstractmethod
    def name(self) -> str:
        """The path of the volume, for the error."""

    @abstractmethod
    def close_now(self) -> None:
        """Close the descriptors; may be called again."""

    @contextmanager
    def use(self) -> Iterator[None]:
        """
        Keep the descriptors open until the end of the block, also if another thread calls ``close``.

        Raises:
            ManagerClosed: they are closed already, or will be when their last user has left.
        """
        user = object()
        try:
            # In this order: whoever closes after the check sees the user.
            self._users[user] = os.getpid()
            self.check_open()
            yield
        finally:
            self._users.pop(user, None)
            if self.is_closed:
                self._close_unused()

    def check_open(self) -> None:
        """
        Raises:
            ManagerClosed: ``close`` was called.
        """
        if self.is_closed:
            raise ManagerClosed.of(self.name)

    def close(self, then: Callable[[], object] | None = None) -> None:
        """Let no user in any more. When the last one has left, close the descriptors and call *then*."""
        if then is not None:
            self._at_close.append(then)
        self.is_closed = True
        self._close_unused()

    def _close_unused(self) -> None:
        # A forked child has a copy of the users, but not their threads.
        if os.getpid() not in [*self._users.values()]:
            self.close_now()
            for then in [*self._at_close]:
                then()
