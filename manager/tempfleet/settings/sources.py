"""
Where a setting can be said, the strongest first: the environment, an env file, a TOML file.

All three give text or plain values by the variable's own name; what they mean is settings.py's business. The env file
is the working directory's ``.env`` unless TEMP_FILE_ENV_FILE names another. One that nobody named is read only when
nobody but us could have written it: who starts a clean-up in /tmp must not obey a stranger's /tmp/.env.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from ..errors import SettingsError

PREFIX = "TEMP_FILE_"
ENV_FILE, CONFIG = "TEMP_FILE_ENV_FILE", "TEMP_FILE_CONFIG"
DEFAULT_ENV_FILE = ".env"
ENVIRONMENT = "environment"

_COMMENT = re.compile(r"\s+#.*")


@dataclass(frozen=True, slots=True)
class SettingValue:
    """A value as it was written, and where: ``environment``, or a file's path."""

    value: Any
    origin: str


def gather(environ: Mapping[str, str], known: Collection[str]) -> dict[str, SettingValue]:
    """
    What is said of the variables, *known* or beginning with TEMP_FILE_, by name; of each the strongest.

    Raises:
        SettingsError: a file that was named cannot be read, or is none of its kind.
    """
    said = _said(environ, known, ENVIRONMENT)
    named = said.get(ENV_FILE)
    env_file = DEFAULT_ENV_FILE if named is None else str(named.value)
    if env_file and (named is not None or _is_ours(env_file)):
        said = _said(_env_file(env_file, named=named is not None), known, env_file) | said
    if (config := said.get(CONFIG)) is not None and config.value:
        said = _said(_toml_file(str(config.value), known), known, str(config.value)) | said
    return said


def without_comment(text: str) -> str:
    """
    *text* without an inline comment: some readers of env files (docker's, systemd's) leave it on the value.
    """
    return _COMMENT.sub("", text).strip()


def _said(values: Mapping[str, Any], known: Collection[str], origin: str) -> dict[str, SettingValue]:
    return {
        name: SettingValue(value, origin)
        for name, value in values.items()
        if name in known or name.startswith(PREFIX)
    }


def _is_ours(path: str) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    if found.st_uid in (0, os.geteuid()) and not found.st_mode & stat.S_IWOTH:
        return stat.S_ISREG(found.st_mode)
    warnings.warn(
        f"{ENV_FILE} does not name {os.path.abspath(path)}, and others can write to it: it is not read",
        stacklevel=5,
    )
    return False


def _env_file(path: str, *, named: bool) -> dict[str, Any]:
    def parse() -> dict[str, Any]:
        text = Path(path).read_text(encoding="utf-8")
        for binding in parse_stream(StringIO(text)):
            if binding.error and (named or PREFIX in binding.original.string):  # else it is not for us
                raise ValueError(f"line {binding.original.line} is not NAME=value")
        return {
            name: value for name, value in dotenv_values(stream=StringIO(text)).items() if value is not None
        }

    return _readable(ENV_FILE, path, parse)


def _toml_file(path: str, known: Collection[str]) -> dict[str, Any]:
    """Keys are the variables' names in lower case, with or without ``temp_file_``."""

    def parse() -> dict[str, Any]:
        with open(path, "rb") as file:
            return tomllib.load(file)

    def variable(key: str) -> str:
        name = key.upper()
        return name if name in known or name.startswith(PREFIX) else PREFIX + name

    return {variable(key): value for key, value in _readable(CONFIG, path, parse).items()}


def _readable(variable: str, path: str, parse: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return parse()
    except OSError as exc:
        said = exc.strerror or type(exc).__name__
    except ValueError as exc:  # of either kind of file, and of their encodings
        said = str(exc).partition("\n")[0]
    raise SettingsError(f"{variable}={path!r}: cannot be read: {said}", variable=variable, value=path)
