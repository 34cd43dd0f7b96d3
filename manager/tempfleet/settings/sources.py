"""
Read the values of settings from the environment, an env file and a TOML file, in this order of precedence.

All three give text or plain values by the name of the variable; settings.py converts them. The env file is the working
directory's ``.env`` unless TEMP_FILE_ENV_FILE names another. The default .env is read only if no other user can write
to it. Otherwise a stranger's /tmp/.env could configure a clean-up started in /tmp.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ..errors import SettingsError

PREFIX = "TEMP_FILE_"
ENV_FILE, CONFIG = "TEMP_FILE_ENV_FILE", "TEMP_FILE_CONFIG"
DEFAULT_ENV_FILE = ".env"
ENVIRONMENT = "environment"

_COMMENT = re.compile(r"\s+#.*")


@dataclass(frozen=True, slots=True)
class SettingValue:
    """A value as it was written, and its origin: ``environment``, or the path of a file."""

    value: Any
    origin: str


def gather(environ: Mapping[str, str], variables: Collection[str]) -> dict[str, SettingValue]:
    """
    Returns variable -> value, for *variables* and for all names with the prefix TEMP_FILE_.

    Raises:
        SettingsError: a file that a variable names cannot be read or parsed.
    """
    values = _relevant(environ, variables, ENVIRONMENT)
    named = values.get(ENV_FILE)
    env_file = DEFAULT_ENV_FILE if named is None else str(named.value)
    if env_file and (named is not None or _is_private(env_file)):
        values = _relevant(_env_file(env_file, named=named is not None), variables, env_file) | values
    if (config := values.get(CONFIG)) is not None and config.value:
        toml_file = str(config.value)
        values = _relevant(_toml_file(toml_file, variables), variables, toml_file) | values
    return values


def without_comment(text: str) -> str:
    """Returns *text* without an inline comment. Docker and systemd leave comments of env files on the value."""
    return _COMMENT.sub("", text).strip()


def _relevant(values: Mapping[str, Any], variables: Collection[str], origin: str) -> dict[str, SettingValue]:
    return {
        name: SettingValue(value, origin)
        for name, value in values.items()
        if name in variables or name.startswith(PREFIX)
    }


def _is_private(path: str) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    if status.st_uid in (0, os.geteuid()) and not status.st_mode & stat.S_IWOTH:
        return stat.S_ISREG(status.st_mode)
    warnings.warn(
        f"{os.path.abspath(path)} is not read, because others can write to it. To read it, name it in {ENV_FILE}",
        stacklevel=5,
    )
    return False


# The two parsers are imported where they are used, because most processes have neither file.


def _env_file(path: str, *, named: bool) -> dict[str, Any]:
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    def parse() -> dict[str, Any]:
        text = Path(path).read_text(encoding="utf-8")
        for binding in parse_stream(StringIO(text)):
            # In the default .env, lines of other programs are not our concern.
            if binding.error and (named or PREFIX in binding.original.string):
                raise ValueError(f"line {binding.original.line} is not NAME=value")
        return {
            name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value is not None
        }

    return _readable(ENV_FILE, path, parse)


def _toml_file(path: str, variables: Collection[str]) -> dict[str, Any]:
    """The keys are the names of variables in lower case, with or without ``temp_file_``."""
    import tomllib

    def parse() -> dict[str, Any]:
        with open(path, "rb") as file:
            return tomllib.load(file)

    def variable(key: str) -> str:
        name = key.upper()
        return name if name in variables or name.startswith(PREFIX) else PREFIX + name

    return {variable(key): value for key, value in _readable(CONFIG, path, parse).items()}


def _readable(variable: str, path: str, parse: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return parse()
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
    except ValueError as exc:  # a syntax error of either kind of file, or a wrong encoding
        reason = str(exc).partition("\n")[0]
    raise SettingsError(f"{variable}={path!r}: cannot be read: {reason}", variable=variable, value=path)
