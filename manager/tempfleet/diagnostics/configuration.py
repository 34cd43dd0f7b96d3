"""
The settings in force, for people: each value, its source and the allowed values.
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
"""Settings that follow from other settings unless they are set."""


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """
    One setting, for people.

    Attributes:
        value: the value in force, as one would write it; passwords are masked.
        default: the value that would be in force if the setting were not set.
        origin: where the value came from: ``option``, ``environment``, a file's path, or ``default``.
        allowed: the allowed values, in a few words.
    """

    variable: str
    value: str
    origin: str
    default: str
    allowed: str


def explain_settings(**values: Any) -> list[SettingInfo]:
    """Explain each setting of ``Settings.load(**values)``; raises the same errors."""
    settings = Settings.load(**values)
    configured = Settings.configured()
    infos = []
    for field, name in variables().items():
        file = getattr(settings, f"{field}_file", "")
        origin = configured[name].origin if name in configured else file or DEFAULT
        info = Settings.model_fields[field]
        unset = settings.model_copy(update={field: info.get_default(call_default_factory=True)})
        infos.append(
            SettingInfo(
                name,
                _written(settings, field),
                OPTION if values.get(field) is not None else origin,
                _written(unset, field),
                allowed(info),
            )
        )
    return infos


def allowed(field: FieldInfo) -> str:
    """The allowed values of a setting, in a few words."""
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
