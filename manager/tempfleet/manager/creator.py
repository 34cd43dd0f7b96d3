"""
Creating files and directories in the base directory: each is registered first and created second; see temp_file.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, TypedDict

from ..cleanup import Cause
from ..deletion import undo_creation
from ..errors import RegistryError
from ..filesystem import create_directory, create_file, new_name
from ..logs import logger, printable
from ..records import FileRecord, Flag, NewFile
from ..validation import ttl_ms, validate_tags
from .local_volume import LocalVolume
from .registration import Registrar
from .temp_file import TempDirectory, TempFile

DIRECTORY_MODE = 0o700

BinaryMode = Literal["wb", "w+b", "wb+", "xb", "x+b", "xb+", "ab", "a+b", "ab+", "r+b", "rb+"]
TextMode = Literal["w", "w+", "wt", "w+t", "x", "x+", "xt", "x+t", "a", "a+", "at", "a+t", "r+", "r+t"]


class CreateOptions(TypedDict, total=False):
    """The keywords that every form of ``create`` takes."""

    prefix: str
    suffix: str
    ttl: float | None
    tags: Sequence[str]
    compress: bool


class Creator:
    """Creates files and directories in the base directory of one volume."""

    def __init__(self, local: LocalVolume, registrar: Registrar) -> None:
        self.local = local
        self.registrar = registrar

    def create(
        self,
        mode: str,
        encoding: str | None,
        default_ttl: float,
        *,
        prefix: str = "",
        suffix: str = "",
        ttl: float | None = None,
        tags: Sequence[str] = (),
        compress: bool = False,
    ) -> TempFile[Any]:
        if not set(mode) & set("wxa+"):
            raise ValueError(f"mode {mode!r} only reads; a new file needs a mode that writes")
        flags = Flag.CREATED + (Flag.MAY_COMPRESS if compress else "")
        new = self.new_file(prefix, suffix, default_ttl if ttl is None else ttl, tags, flags=flags)

        def opener(path: str, flags: int) -> int:
            permissions = self.local.settings.permission_mask
            return create_file(self.local.roots, os.path.basename(path), mode=permissions)

        return TempFile(
            register=partial(self.registrar.register, new),
            make=lambda name: open(new.path, mode, encoding=encoding, opener=opener),
            unmake=self.unmake,
            delete=self.delete,
            measured=self._count_size,
        )

    def create_dir(self, prefix: str, suffix: str, ttl: float, tags: Sequence[str]) -> TempDirectory:
        flags = Flag.CREATED.value + Flag.DIRECTORY.value
        new = self.new_file(prefix, suffix, ttl, tags, flags=flags)
        return TempDirectory(
            register=partial(self.registrar.register, new),
            make=lambda name: create_directory(self.local.roots, name, mode=DIRECTORY_MODE),
            unmake=self.unmake,
            delete=self.delete,
        )

    def new_file(self, prefix: str, suffix: str, ttl: float, tags: Sequence[str], *, flags: str) -> NewFile:
        """Returns what creating registers, under an unguessable name."""
        self.local.check()
        return NewFile(
            path=os.path.join(self.local.roots.base.path, new_name(prefix, suffix)),
            ttl_ms=ttl_ms(ttl),
            flags=flags,
            uid=os.geteuid(),
            tags=validate_tags(tags),
        )

    def unmake(self, record: FileRecord) -> None:
        undo_creation(self.local.roots, os.path.basename(record.path))
        self.local.registry.unregister([record.path], total="missing")

    def delete(self, record: FileRecord) -> None:
        local = self.local
        local.cleaner.clean_paths([[record.path]], Cause.DISCARDED, until_ms=local.registry.now_ms())

    def _count_size(self, record: FileRecord, size_bytes: int) -> None:
        """Record the size of a closed file. The file stays registered if that fails."""
        try:
            self.local.registry.amend(
                record.path,
                expected=record.identity,
                identity=record.identity,
                marks="",
                size_bytes=size_bytes,
            )
        except RegistryError as exc:
            logger.warning("The size of %s could not be recorded: %s", printable(record.path), exc)
