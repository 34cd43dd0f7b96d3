"""
The settings in force, as people look at them: each value, where it came from, and what it may be.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from ..deletion import usual_path
from ..settings import Settings, variables, without_password

OPTION, DEFAULT = "option", "default"

FOLLOWS: dict[str, Callable[[Settings], Any]] = {
    "broker_url": lambda settings: settings.effective_broker_url,
    "allowed_roots": lambda settings: settings.roots,
    "message_roots": lambda settings: settings.confined_roots,
    "status_page": lambda settings: settings.serves_status_page,
    "audit_log": lambda settings: settings.audit_log or usual_path(settings.base_dir),
}
"""Settings that follow from others where nobody said them."""


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """
    One setting as people look at it.

    Attributes:
        value: what is in force, as it would be written; passwords are masked.
        default: what would be in force if nobody had said it.
        origin: where the value came from: ``option``, ``environment``, a file's path, or ``default``.
        allowed: in a few words.
    """

    variable: str
    value: str
    origin: str
    default: str
    allowed: str


def explain_settings(**values: Any) -> list[SettingInfo]:
    """Every setting that ``Settings.load(**values)`` gives, and why; raises as it does."""
    settings = Settings.load(**values)
    found = Settings.configured()
    explained = []
    for field, name in variables().items():
        file = getattr(settings, f"{field}_file", "")
        origin = found[name].origin if name in found else file or DEFAULT
        info = Settings.model_fields[field]
        unsaid = settings.model_copy(update={field: info.get_default(call_default_factory=True)})
        explained.append(
            SettingInfo(
                name,
                _written(settings, field),
                OPTION if values.get(field) is not None else origin,
                _written(unsaid, field),
                allowed(info),
            )
        )
    return explained


def allowed(field: FieldInfo) -> str:
    """What a setting can be, in a few words."""
    if field.description:
        return field.description
    if isinstance(field.annotation, type) and issubclass(field.annotation, StrEnum):
        return " | ".join(field.annotation)
    if field.annotation in (bool, bool | None):
        return "on | off"
    if get_origin(field.annotation) is Literal:
        return " | ".join(get_args(field.annotation))
    signs = {"gt": ">", "ge": ">=", "le": "<="}
    bounds = [
        f"{sign} {getattr(bound, name):.15g}"
        for bound in field.metadata
        for name, sign in signs.items()
        if hasattr(bound, name)
    ]
    return ", ".join(bounds)


def _written(settings: Settings, field: str) -> str:
    value = FOLLOWS[field](settings) if field in FOLLOWS else getattr(settings, field)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return os.pathsep.join(value)
    if field == "permission_mask":
        return f"{value:04o}"
    if isinstance(value, float):
        return f"{value:.15g}"
    return without_password(value) if field.endswith("_url") else str(value)
