"""
The line to Redis: one client, scripts run by name, and Redis's errors in our words.

What may be repeated is repeated once when a connection turns out to be dead; a claim never is: its answer
may have been lost after Redis popped, and a second one would strand the first batch until its lease ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import redis

from ..errors import EvictingRedis, RegistryError, RegistryUnavailable
from ..logs import logger
from ..settings import MAX_BATCH
from . import scripts
from .connection import translated
from .keys import FLEET_KEYS, fleet_key
from .scripts import Argument

T = TypeVar("T")

NEVER_REPEATED = frozenset({"claim", "observe"})

Clock = Callable[[], int | None]
"""Gives the instant (ms) that scripts take for now, or None for the server's own clock."""


def server_clock() -> None:
    """The default: Redis TIME, read inside the scripts."""


class Store:
    """One Redis, one namespace."""

    def __init__(
        self, client: redis.Redis, *, namespace: str = "tempfleet", clock: Clock = server_clock
    ) -> None:
        self.client = client
        self.namespace = namespace
        self.clock = clock
        self.fleet_keys = {name: fleet_key(namespace, name) for name in FLEET_KEYS}
        self._trips = threading.local()

    def run(
        self,
        name: str,
        keys: Mapping[str, bytes],
        /,
        *,
        more: Sequence[Argument] = (),
        announce: bytes | None = None,
        **args: Argument,
    ) -> Any:
        """
        Run scripts/*name*.lua on *keys* (by name: a volume's or the fleet's), by its digest. The text is sent if Redis
        has lost it. With *announce* that volume is made known to sweeps first, in the same round trip.

        Raises:
            RegistryError: or the sub-class that fits; see ``translated``.
        """
        script = scripts.load(name)
        slots = [keys[key] for key in script.keys]
        argv = self._argv(script, args, more)
        return self.call(self._evaluate, script, slots, argv, announce, repeat=name not in NEVER_REPEATED)

    def run_each(
        self, calls: Sequence[tuple[str, Mapping[str, bytes], Mapping[str, Argument]]]
    ) -> list[Any]:  # the answers, or the error of that call
        """Run several scripts without further arguments in one round trip; one that fails harms no other."""
        if not calls:
            return []
        prepared = []
        for name, keys, args in calls:
            script = scripts.load(name)
            prepared.append((script, [keys[key] for key in script.keys], self._argv(script, args, ())))

        def send() -> list[Any]:
            pipeline = self.client.pipeline(transaction=False)
            for script, keys, argv in prepared:
                pipeline.evalsha(script.sha, len(keys), *keys, *argv)
            return list(pipeline.execute(raise_on_error=False))

        answers: list[Any] = self.call(send)
        for i, answer in enumerate(answers):
            if isinstance(answer, redis.exceptions.NoScriptError):
                answers[i] = self._or_error(*prepared[i])
            elif isinstance(answer, redis.RedisError):
                answers[i] = translated(answer, self.address)
        return answers

    @property
    def round_trips(self) -> int:
        """How often the calling thread has asked Redis through this store."""
        return int(getattr(self._trips, "count", 0))

    def call(self, command: Callable[..., Any], /, *args: Any, repeat: bool = True, **options: Any) -> Any:
        """*command*'s answer; once more if the connection was dead, and with our errors."""
        self._trips.count = self.round_trips + 1
        try:
            try:
                return command(*args, **options)
            except redis.ConnectionError as exc:
                if not repeat or isinstance(exc, redis.AuthenticationError):
                    raise
                return command(*args, **options)
        except redis.RedisError as exc:
            raise translated(exc, self.address) from exc

    @property
    def address(self) -> str:
        """Where the registry is, without the password."""
        known = self.client.connection_pool.connection_kwargs
        return str(known.get("path") or f"{known.get('host', 'localhost')}:{known.get('port', 6379)}")

    def check_policy(self) -> None:
        """
        Refuse a Redis that may evict our keys. Taken from INFO, because CONFIG is often forbidden.

        Raises:
            EvictingRedis: its maxmemory-policy is one of allkeys-*.
        """
        policy = str(self.memory().get("maxmemory_policy", ""))
        if policy.startswith("allkeys-"):
            raise EvictingRedis(
                f"Redis at {self.address} has maxmemory-policy {policy}: it may evict records, and an evicted "
                "record is a leaked file. Set maxmemory-policy noeviction.",
                variable="TEMP_FILE_REDIS_URL",
                value=policy,
            )

    def memory(self) -> dict[str, Any]:
        """INFO's section on memory; empty where an ACL forbids even that."""
        return dict(self.call(self._memory))

    def info(self, section: str) -> dict[str, Any]:
        """A section of INFO; nothing where an ACL, or a server that is none, does not tell."""
        try:
            return dict(self.call(self.client.info, section))
        except RegistryUnavailable:
            raise
        except RegistryError:
            return {}

    def _memory(self) -> dict[str, Any]:
        try:
            return dict(self.client.info("memory"))
        except redis.ResponseError as exc:
            logger.warning("Cannot read the maxmemory-policy of Redis at %s: %s", self.address, exc)
            return {}

    def _argv(
        self, script: scripts.Script, args: Mapping[str, Argument], more: Sequence[Argument]
    ) -> list[Argument]:
        if "now_ms" in script.args:
            now = self.clock()
            args = {**args, "now_ms": "" if now is None else now}
        return script.arguments(args, more)

    def _evaluate(
        self, script: scripts.Script, keys: list[bytes], argv: list[Argument], announce: bytes | None = None
    ) -> Any:
        try:
            if announce is None:
                return self.client.evalsha(script.sha, len(keys), *keys, *argv)
            pipeline = self.client.pipeline(transaction=False)
            pipeline.zadd(self.fleet_keys["volumes"], {announce: 0}, nx=True)
            pipeline.evalsha(script.sha, len(keys), *keys, *argv)
            return pipeline.execute()[1]
        except redis.exceptions.NoScriptError:
            return self.client.eval(script.text, len(keys), *keys, *argv)

    def _or_error(self, script: scripts.Script, keys: list[bytes], argv: list[Argument]) -> Any:
        try:
            return self.call(self._evaluate, script, keys, argv)
        except RegistryError as exc:
            return exc


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """*items*, at most as many at a time as one script may move."""
    for start in range(0, len(items), MAX_BATCH):
        yield items[start : start + MAX_BATCH]
