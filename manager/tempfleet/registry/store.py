"""
One Redis client and one namespace: runs scripts by name, and raises our errors instead of redis-py's.

If a connection is dead, a call is repeated once. A claim is then not repeated: Redis may have made the claim before its
answer was lost, and its files would then wait until the lease ends.

If the server accepts no writes, Redis may have failed over, and its address may lead to another server by now. So the
connections are closed, and the call is repeated once on a new one, even a claim, because the server did nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis
from redis.client import Pipeline

from ..errors import EvictingRedis, ManagerClosed, RegistryError, RegistryUnavailable
from ..logs import logger
from . import scripts
from .connection import address_of, disconnect_idle, is_not_now, translated
from .keys import FLEET_KEYS, SCHEMA, fleet_key
from .scripts import Argument

NEVER_REPEATED = frozenset({"claim", "observe", "record_plugin"})
"""A second ``observe`` or ``record_plugin`` could count twice."""

REPEATED_WITHIN_SECONDS = 1.0
"""A dead connection is noticed at once; a call that took longer has waited for an answer."""

Clock = Callable[[], int | None]
"""Returns the time (ms) that scripts use as now, or None for the server's own clock."""


def server_clock() -> None:
    """The default clock: the scripts call Redis TIME."""


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
        self._is_closed = self._ends_connections = False

    def run(
        self,
        name: str,
        keys: Mapping[str, bytes],
        /,
        *,
        more: Sequence[Argument] = (),
        announce: bytes | None = None,
        list_host: str = "",
        **args: Argument,
    ) -> Any:
        """
        Run scripts/*name*.lua by its digest. If Redis does not have the script, its text is sent.

        Args:
            keys: the keys of a volume, or of the fleet, by name.
            more: the arguments after the named ones.
            announce: a volume's entry in the list that sweeps read; added first, in the same round trip.
            list_host: also return the entries of this host's volumes, read after the script in the same round trip.

        Raises:
            RegistryError: or a sub-class; see ``translated``.
        """
        script = scripts.load(name)
        slots = [keys[key] for key in script.keys]
        argv = self._argv(script, args, more)
        repeat = name not in NEVER_REPEATED
        if list_host:
            return self.call(self._evaluate_and_list, script, slots, argv, announce, list_host, repeat=repeat)
        return self.call(self._evaluate, script, slots, argv, announce, repeat=repeat)

    def run_each(
        self,
        calls: Sequence[tuple[str, Mapping[str, bytes], Mapping[str, Argument]]],
        *,
        more: Sequence[Argument] = (),
    ) -> list[Any]:
        """
        Run several scripts in one round trip, each with its keys and named arguments. Returns the reply of each, or
        its error: a script that fails does not affect the others.

        Args:
            more: the arguments of each script after the named ones.
        """
        if not calls:
            return []
        prepared = []
        for name, keys, args in calls:
            script = scripts.load(name)
            prepared.append((script, [keys[key] for key in script.keys], self._argv(script, args, more)))

        pipeline = self.client.pipeline(transaction=False)
        for script, slots, argv in prepared:
            pipeline.evalsha(script.sha, len(slots), *slots, *argv)
        replies = self.execute(pipeline, raise_on_error=False)
        for i, reply in enumerate(replies):
            if isinstance(reply, redis.exceptions.NoScriptError):
                replies[i] = self._reply_or_error(*prepared[i])
            elif isinstance(reply, redis.RedisError):
                replies[i] = translated(reply, self.address)
        return replies

    @property
    def round_trips(self) -> int:
        """The number of round trips of the calling thread through this store."""
        return int(getattr(self._trips, "count", 0))

    def count_round_trips(self, count: int) -> None:
        """Count the round trips that another thread made for the calling one."""
        self._trips.count = self.round_trips + count

    def close(self, *, with_connections: bool = False) -> None:
        """
        Refuse every later call. The client stays open.

        Args:
            with_connections: end its connections: those that other threads use now, as soon as their calls end.
        """
        self._ends_connections = with_connections
        self._is_closed = True
        if with_connections:
            disconnect_idle(self.client)

    def call(self, command: Callable[..., Any], /, *args: Any, repeat: bool = True, **options: Any) -> Any:
        """
        Returns *command*'s reply. Repeats it once if the connection was dead or the server accepts no writes, and
        raises our errors. A command that has waited is not repeated, so that a call waits for one answer at most.

        Args:
            repeat: False for a command that must not run twice; it may run if the connection was dead.
        """
        if self._is_closed:
            raise ManagerClosed
        self.count_round_trips(1)
        began = time.monotonic()
        try:
            try:
                return command(*args, **options)
            except redis.ConnectionError as exc:
                has_waited = time.monotonic() - began > REPEATED_WITHIN_SECONDS
                if not repeat or has_waited or isinstance(exc, redis.AuthenticationError):
                    raise
            except redis.TimeoutError:
                # If a firewall has forgotten this connection, it has forgotten the others, too.
                disconnect_idle(self.client)
                raise
            except redis.ResponseError as exc:
                if not is_not_now(exc):
                    raise
                disconnect_idle(self.client)
            return command(*args, **options)
        except redis.RedisError as exc:
            raise translated(exc, self.address) from exc
        finally:
            if self._ends_connections:
                disconnect_idle(self.client)

    def execute(self, pipeline: Pipeline, *, raise_on_error: bool = True) -> list[Any]:
        """Returns the replies to the commands of *pipeline*; as ``call``."""
        # A pipeline that fails forgets its commands.
        commands = list(pipeline.command_stack)

        def send() -> list[Any]:
            pipeline.command_stack = list(commands)
            return list(pipeline.execute(raise_on_error))

        replies: list[Any] = self.call(send)
        if any(map(is_not_now, replies)):
            disconnect_idle(self.client)
        return replies

    @property
    def address(self) -> str:
        """The socket, or host and port, of Redis, or its name for Sentinel; without the password."""
        return address_of(self.client)

    @property
    def server(self) -> str:
        """The address of Redis, and the number of the database there."""
        return f"{self.address}/{self.client.connection_pool.connection_kwargs.get('db') or 0}"

    def time_of(self, reply: tuple[int, int]) -> int:
        """The time in ms of a reply to TIME; the store's own clock goes before it."""
        now_ms = self.clock()
        return reply[0] * 1000 + reply[1] // 1000 if now_ms is None else now_ms

    def check_policy(self) -> dict[str, Any]:
        """
        Refuse a Redis that may evict our keys. The policy is read from INFO, because CONFIG is often forbidden. Returns
        that section of INFO, as ``memory`` does.

        Raises:
            EvictingRedis: the maxmemory-policy is one of allkeys-*.
        """
        info = self.memory()
        self.refuse_eviction(info)
        return info

    def refuse_eviction(self, info: Mapping[str, Any]) -> None:
        """As ``check_policy``, for a memory section that was already read."""
        policy = str(info.get("maxmemory_policy", ""))
        if policy.startswith("allkeys-"):
            raise EvictingRedis(
                f"Redis at {self.address} has maxmemory-policy {policy}: it may evict records, and an evicted "
                "record is a leaked file. Set maxmemory-policy noeviction.",
                variable="TEMP_FILE_REDIS_URL",
                value=policy,
            )

    def memory(self) -> dict[str, Any]:
        """The memory section of INFO; empty, with a warning, if an ACL forbids INFO."""
        return self.memory_of(self.call(self._memory))

    def memory_of(self, reply: Any) -> dict[str, Any]:
        """The reply to INFO memory as a dictionary; empty, with a warning, if it is an error."""
        if isinstance(reply, redis.ResponseError):
            logger.warning("Cannot read the maxmemory-policy of Redis at %s: %s", self.address, reply)
            return {}
        return dict(reply)

    def info(self, section: str) -> dict[str, Any]:
        """One section of INFO; empty if an ACL forbids it, or the server does not have it."""
        try:
            return dict(self.call(self.client.info, section))
        except RegistryUnavailable:
            raise
        except RegistryError:
            return {}

    def _memory(self) -> Any:
        try:
            return self.client.info("memory")
        except redis.ResponseError as exc:
            return exc

    def _argv(
        self, script: scripts.Script, args: Mapping[str, Argument], more: Sequence[Argument]
    ) -> list[Argument]:
        if "now_ms" in script.args:
            now = self.clock()
            args = {**args, "now_ms": "" if now is None else now}
        if "schema" in script.args:
            args = {"schema": SCHEMA, **args}
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

    def _evaluate_and_list(
        self,
        script: scripts.Script,
        keys: list[bytes],
        argv: list[Argument],
        announce: bytes | None,
        host: str,
    ) -> tuple[Any, list[bytes]]:
        # All scores are 0, so the entries are in the order of their bytes. No host contains a bar or a brace.
        which = self.fleet_keys["volumes"], f"[{host}|", f"({host}}}"
        pipeline = self.client.pipeline(transaction=False)
        if announce is not None:
            pipeline.zadd(self.fleet_keys["volumes"], {announce: 0}, nx=True)
        pipeline.evalsha(script.sha, len(keys), *keys, *argv)
        pipeline.zrangebylex(*which)
        try:
            *_, reply, members = pipeline.execute()
        except redis.exceptions.NoScriptError:
            reply = self.client.eval(script.text, len(keys), *keys, *argv)
            members = self.client.zrangebylex(*which)
        return reply, members

    def _reply_or_error(self, script: scripts.Script, keys: list[bytes], argv: list[Argument]) -> Any:
        try:
            return self.call(self._evaluate, script, keys, argv)
        except RegistryError as exc:
            return exc
