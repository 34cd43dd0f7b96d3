"""
Checks the envelope of a message, before Celery looks into it.

Celery trusts envelopes. In a malformed one it raises KeyError, ValueError or TypeError: that ends the worker, or kombu
takes it for a lost connection and delivers the message again, for ever; or the message stays with a thread of the pool.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from datetime import datetime
from typing import Any

from celery.exceptions import InvalidTaskError
from kombu.message import Message

from .. import routing

Types = type | tuple[type, ...]

HEADERS: dict[str, Types] = {
    "eta": (str, datetime),
    "expires": (str, datetime),
    "group": str,
    "headers": Mapping,
    "parent_id": str,
    "retries": int,
    "root_id": str,
    "shadow": str,
    "stamped_headers": (list, tuple),
    "stamps": Mapping,
    "timelimit": (list, tuple),
}
LISTS = ("callbacks", "errbacks", "chain")
OVERRIDING = (routing.ADDED_BY_WORKER - {*routing.EMBED}) | {"headers", "id", "task"}
"""Options that would replace what the worker itself says about the task."""


def check_envelope(message: Message, tasks: Container[str]) -> None:
    """
    Check *message* as far as Celery will use it. *tasks* are the known names: other messages are not decoded.

    Raises:
        InvalidTaskError, ContentDisallowed, DecodeError: it must be thrown away.
    """
    if not isinstance(message.headers, Mapping):
        raise InvalidTaskError("the headers are not a mapping")
    if "task" in message.headers:
        _check_names(message.headers)
        if message.headers["task"] in tasks:
            _check_headers(message.headers)
            _check_body(message.payload)
    elif isinstance(message.payload, Mapping) and "task" in message.payload:
        # Protocol 1, in which the body has everything. Celery itself refuses a body without a task.
        _check_names(message.payload)
        _check_headers(message.payload)
        _check_arguments(message.payload.get("args", ()), message.payload.get("kwargs", {}), message.payload)


def _check_names(fields: Mapping[str, Any]) -> None:
    for name in ("task", "id"):
        if not isinstance(fields.get(name), str):
            raise InvalidTaskError(f"{name} is not a text")


def _check_headers(fields: Mapping[str, Any]) -> None:
    for name, types in HEADERS.items():
        _expect(name, fields.get(name), types)
    limits = fields.get("timelimit") or (None, None)
    if len(limits) != 2:
        raise InvalidTaskError("timelimit has not two values")
    for limit in limits:
        _expect("timelimit", limit, (int, float))


def _check_body(body: object) -> None:
    if isinstance(body, Mapping) and "args" in body:
        _check_arguments(body["args"], body.get("kwargs"), body)
        return
    if not isinstance(body, list | tuple) or len(body) != 3:
        raise InvalidTaskError("the body is not a list of arguments, keyword arguments and options")
    _check_arguments(*body)
    if overriding := OVERRIDING & body[2].keys():
        raise InvalidTaskError(f"not an option: {min(overriding)}")


def _check_arguments(args: object, kwargs: object, options: object) -> None:
    if not isinstance(args, list | tuple):
        raise InvalidTaskError("the arguments are not a list")
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise InvalidTaskError("the keyword arguments are not a mapping")
    if not isinstance(options, Mapping):
        raise InvalidTaskError("the options are not a mapping")
    _expect("chord", options.get("chord"), Mapping)
    for name in LISTS:
        signatures = options.get(name)
        _expect(name, signatures, (list, tuple))
        if not all(isinstance(signature, Mapping) for signature in signatures or ()):
            raise InvalidTaskError(f"{name} is not a list of signatures")


def _expect(name: str, value: object, types: Types) -> None:
    if value is not None and not isinstance(value, types):
        raise InvalidTaskError(f"{name} has the wrong type: {value!r:.100}")
