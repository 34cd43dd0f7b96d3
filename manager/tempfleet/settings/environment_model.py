"""
A frozen pydantic model that loads itself from named variables. It knows no field of its subclasses.

A field's variable is its ``validation_alias``. A field ``name`` that has a sibling ``name_file`` can also be read from
the file that the sibling names, so that a password is in no environment.
"""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from ..errors import SettingsError
from .sources import ENVIRONMENT, PREFIX, SettingValue, gather, without_comment

_TEXT = (str, str | None, tuple[str, ...])
"""The types whose values may contain a #; in the values of other types it begins a comment."""

_BOOLEANS = (bool, bool | None)


class EnvironmentModel(BaseModel):
    """Fields that are read from the environment, an env file and a TOML file; see sources.py."""

    # Nobody makes an object of this class itself; not building its validator saves 3 ms of every import.
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False, defer_build=True
    )

    @classmethod
    def load(cls, base: Self | None = None, /, **values: Any) -> Self:
        """
        Returns *base*, or else the settings of the environment and its files; *values* (by field name) replace both.

        A value of None replaces nothing. An unknown ``TEMP_FILE_*`` variable causes a warning with the most similar
        name.

        Raises:
            SettingsError: names the variable, the value and what is allowed.
        """
        arguments = {name: value for name, value in values.items() if value is not None}
        if base is not None:
            return cls._of(base.model_dump() | arguments, {}) if arguments else base
        configured = cls.configured()
        warn_of_unknown(configured, cls.variables().values())
        return cls._of(arguments, configured)

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Field name -> environment variable, of every field that has one."""
        aliases = {name: field.validation_alias for name, field in cls.model_fields.items()}
        return {
            name: str(alias.choices[0]) for name, alias in aliases.items() if isinstance(alias, AliasChoices)
        }

    @classmethod
    def configured(cls) -> dict[str, SettingValue]:
        """Variable -> its value in the environment or a file; also unknown variables with our prefix."""
        return gather(os.environ, set(cls.variables().values()))

    @classmethod
    def is_configured(cls, field: str) -> bool:
        """Whether the environment or one of its files sets *field*."""
        return cls.variables()[field] in cls.configured()

    def variable_of(self, field: str) -> str:
        return self.variables().get(field, field)

    @classmethod
    def _of(cls, arguments: dict[str, Any], configured: dict[str, SettingValue]) -> Self:
        used = {
            field: configured[variable]
            for field, variable in cls.variables().items()
            if variable in configured and field not in arguments
        }
        try:
            settings = cls(**arguments, **{field: setting.value for field, setting in used.items()})
        except ValidationError as exc:
            raise cls._settings_error(exc, used) from None
        return settings.model_copy(update=settings._values_from_files())

    def _values_from_files(self) -> dict[str, str]:
        files = {field: getattr(self, f"{field}_file", "") for field in type(self).model_fields}
        return {
            field: _text_of(file, self.variable_of(f"{field}_file"))
            for field, file in files.items()
            if file and field not in self.model_fields_set
        }

    @classmethod
    def _settings_error(cls, exc: ValidationError, used: dict[str, SettingValue]) -> SettingsError:
        first = exc.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            return SettingsError(_unknown(name, cls.model_fields), variable=name)
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] in ("bool_parsing", "bool_type"):
            reason = "must be on or off"
        if not name:
            return SettingsError(reason)
        # Pydantic names a value as the caller did, by its field or by its variable.
        field = next(
            (field for field, variable in cls.variables().items() if name in (field, variable)), name
        )
        variable = cls.variables().get(field, field)
        value, origin = first.get("input"), ""
        if field in used:  # as it was written, with its unit
            value, origin = used[field].value, used[field].origin
        place = f" (from {origin})" if origin not in ("", ENVIRONMENT) else ""
        return SettingsError(
            f"{variable}={value!r}: {reason[0].lower()}{reason[1:]}{place}", variable=variable, value=value
        )

    # Pydantic runs these two before the validators of a field's type, the second one first.

    @field_validator("*", mode="before")
    @classmethod
    def _remove_comment(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str) and cls.model_fields[str(info.field_name)].annotation not in _TEXT:
            return without_comment(value)
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_boolean_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """In Python True equals 1, so ``max_age = true`` in TOML would mean one second."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation not in _BOOLEANS:
            raise ValueError("must not be true or false")
        return value


def warn_of_unknown(names: Iterable[str], variables: Collection[str]) -> None:
    """Warn of each name with our prefix that is not one of *variables*: a setting with a typing error is lost."""
    prefixed = [variable for variable in variables if variable.startswith(PREFIX)]
    for name in names:
        if name.startswith(PREFIX) and name not in prefixed:
            warnings.warn(_unknown(name, prefixed, prefix=PREFIX), stacklevel=3)


def _unknown(name: str, names: Iterable[str], *, prefix: str = "") -> str:
    """The prefix does not count: it would make all names look alike."""
    rests = [name.removeprefix(prefix) for name in names]
    similar = difflib.get_close_matches(name.removeprefix(prefix), rests, n=1)
    hint = f"; did you mean {prefix}{similar[0]}?" if similar else ""
    return f"{name} is not a setting of Tempfleet{hint}"


def _text_of(file: str, variable: str) -> str:
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(
            f"{variable}={file!r}: cannot be read: {exc}", variable=variable, value=file
        ) from None
    if not text:
        raise SettingsError(f"{variable}={file!r}: the file is empty", variable=variable, value=file)
    return text
