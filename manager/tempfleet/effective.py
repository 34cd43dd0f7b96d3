"""
The settings in force, as people look at them: each value, where it came from, and what it may be.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from .settings import Settings, found_settings, variables
from .urls import without_password

OPTION, DEFAULT = "option", "default"


@dataclass(frozen=True, slots=True)
class Explained:
    """
    One setting as people look at it.

    Attributes:
        value, default: as they would be written; passwords are masked.
        origin: where the value came from: ``option``, ``environment``, a file's path, or ``default``.
        allowed: in a few words.
    """

    variable: str
    value: str
    origin: str
    default: str
    allowed: str


def explain(**values: Any) -> list[Explained]:
    """Every setting that ``Settings.load(**values)`` gives, and why; raises as it does."""
    settings = Settings.load(**values)
    found = found_settings()
    explained = []
    for field, name in variables().items():
        file = getattr(settings, f"{field}_file", "")
        origin = found[name].origin if name in found else file or DEFAULT
        info = Settings.model_fields[field]
        explained.append(
            Explained(
                name,
                _written(field, getattr(settings, field)),
                OPTION if values.get(field) is not None else origin,
                _written(field, info.get_default(call_default_factory=True)),
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


def _written(field: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return os.pathsep.join(value)
    if field == "permission_mask":
        return f"{value:04o}"
    if isinstance(value, float):
        return f"{value:.15g}"
    return without_password(value) if field.endswith("_url") else str(value)
